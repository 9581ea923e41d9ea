//! Files, locks and directories as traits, with the real disk as one implementation.
