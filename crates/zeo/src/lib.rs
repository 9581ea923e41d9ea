//! The ZEO protocol as state machines: frames, messages, client session, server hub, client cache.
