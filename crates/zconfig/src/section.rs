//! A section that was held against its schema.

use crate::address::SocketAddress;
use crate::datatype::Value;
use crate::error::{ConfigError, Place};
use crate::schema::SectionType;

/// A section with its values.
#[derive(Clone, Debug)]
pub struct Section {
    pub(crate) type_: &'static SectionType,
    pub(crate) name: Option<String>,
    pub(crate) place: Place,
    /// In the order of the schema.
    pub(crate) settings: Vec<Setting>,
    /// In the order of the slots, then of the text.
    pub(crate) sections: Vec<Self>,
}

/// The value of a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The key.
    pub key: &'static str,
    /// Its value.
    pub value: Value,
    /// Where it is set; `None` where it is not, and the value is the schema's.
    pub place: Option<Place>,
}

impl Section {
    /// Its type.
    pub fn kind(&self) -> &'static str {
        self.type_.name
    }

    /// What the schema says of it.
    pub fn section_type(&self) -> &'static SectionType {
        self.type_
    }

    /// Its name, in lower case.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Where it begins.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The values of a key: those that are set, or the schema's.
    pub fn settings(&self, key: &str) -> impl Iterator<Item = &Setting> {
        debug_assert!(
            self.type_.keys().any(|known| known.name == key),
            "<{}> has no key {key:?} to ask for",
            self.type_.name
        );
        self.settings
            .iter()
            .filter(move |setting| setting.key == key)
    }

    /// The value of a key that is there once at most.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.settings(key).next().map(|setting| &setting.value)
    }

    /// Whether the text sets the key.
    pub fn is_set(&self, key: &str) -> bool {
        self.settings(key).any(|setting| setting.place.is_some())
    }

    /// The value of a key that is yes or no.
    pub fn boolean(&self, key: &str) -> Option<bool> {
        match self.value(key)? {
            Value::Boolean(value) => Some(*value),
            _ => None,
        }
    }

    /// The value of a key that is a number, a size or a time.
    pub fn integer(&self, key: &str) -> Option<i64> {
        match self.value(key)? {
            Value::Integer(value) => Some(*value),
            _ => None,
        }
    }

    /// The value of a key that is any number.
    pub fn float(&self, key: &str) -> Option<f64> {
        match self.value(key)? {
            Value::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// The value of a key that is text.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.value(key)? {
            Value::Text(value) => Some(value),
            _ => None,
        }
    }

    /// The value of a key that is an address.
    pub fn address(&self, key: &str) -> Option<&SocketAddress> {
        match self.value(key)? {
            Value::Socket(value) => Some(value),
            _ => None,
        }
    }

    /// All sections in it: in the order of the schema's slots, then of the text.
    pub fn sections(&self) -> impl Iterator<Item = &Self> {
        self.sections.iter()
    }

    /// The first section in it of that type.
    pub fn section(&self, kind: &str) -> Option<&Self> {
        self.sections().find(|section| section.kind() == kind)
    }

    /// The sections in it that can stand for that.
    pub fn implementing<'a>(&'a self, what: &'a str) -> impl Iterator<Item = &'a Self> {
        self.sections()
            .filter(move |section| section.type_.implements == Some(what))
    }

    /// An error that blames a key of this section, or the section where the key is not set.
    pub fn error(&self, key: &str, message: impl Into<String>) -> ConfigError {
        let setting = self.settings.iter().find(|setting| setting.key == key);
        let place = setting.and_then(|setting| setting.place.as_ref());
        ConfigError::new(place.unwrap_or(&self.place), message)
    }
}
