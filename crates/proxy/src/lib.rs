//! Sockets for the balancer: the HTTP reverse proxy.
