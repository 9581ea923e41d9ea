//! One request: traversal, form values, call, response, transaction and retry.
