//! DTML: parser and renderer.
