//! Backends, health, selection, queueing, draining: policy over values.
