//! The stock classes through the publisher: judged by answers of Zope, and by what is stored.

mod corpus;
mod sample;
mod support;
mod writes;
