//! Zodiac judged by the genuine Python programs.
