//! What Python and ZODB wrote is read and written back; whatever else comes is refused or survived.

mod golden;
mod limits;
mod properties;
mod scan;
mod spelling;
