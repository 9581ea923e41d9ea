//! Snapshots, the shared cache of decoded objects, transactions.
