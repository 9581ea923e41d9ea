//! The stock content classes, and which Python class name each one answers to.
