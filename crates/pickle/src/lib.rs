//! Python pickles to inert values and back, byte for byte.
