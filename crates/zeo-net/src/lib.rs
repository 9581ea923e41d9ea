//! Sockets for the ZEO protocol: a storage for clients, a listener for servers.
