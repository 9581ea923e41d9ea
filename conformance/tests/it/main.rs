//! Zodiac against its judges: the real binary, genuine Python, real sockets, real signals.

mod judges;
