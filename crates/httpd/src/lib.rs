//! HTTP to worker threads that call the publisher.
