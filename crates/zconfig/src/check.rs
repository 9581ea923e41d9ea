//! A tree held against a schema.
//!
//! The rules, and the order of the text in which they apply, are ZConfig's matcher's.

use crate::document::{Document, Import, Item, Node, Pair};
use crate::error::{ConfigError, Place};
use crate::schema::{Child, Key, Package, Schema, SectionType, Slot};
use crate::section::{Section, Setting};
use crate::suggest::suggestion;
use crate::words::is_key;
use crate::world::World;

impl Schema {
    /// Gives every value of the document its type.
    ///
    /// # Errors
    /// At the first key or section that must not be there, is missing, or has a wrong value.
    pub fn check(
        &'static self,
        document: &Document,
        world: &dyn World,
    ) -> Result<Section, ConfigError> {
        let mut checker = Checker {
            schema: self,
            imported: Vec::new(),
            world,
        };
        let start = Place {
            line: 0,
            ..document.end.clone()
        };
        let mut root = Matching::new(&self.root, None, start);
        checker.fill(&mut root, &document.items)?;
        checker.finish(root, &document.end)
    }
}

struct Checker<'a> {
    schema: &'static Schema,
    imported: Vec<&'static Package>,
    world: &'a dyn World,
}

/// A section whose parts are being collected.
struct Matching<'a> {
    type_: &'static SectionType,
    name: Option<String>,
    place: Place,
    pairs: Vec<(&'static Key, &'a Pair)>,
    /// With the number of the slot among the type's children.
    sections: Vec<(usize, Section)>,
}

impl Matching<'_> {
    fn new(type_: &'static SectionType, name: Option<String>, place: Place) -> Self {
        Self {
            type_,
            name,
            place,
            pairs: Vec::new(),
            sections: Vec::new(),
        }
    }

    /// `<zeo>`, or what stands outside of all sections.
    fn title(&self) -> String {
        title(self.type_)
    }
}

fn title(type_: &SectionType) -> String {
    if type_.name.is_empty() {
        "the configuration".to_owned()
    } else {
        format!("<{}>", type_.name)
    }
}

impl Checker<'_> {
    fn fill<'a>(
        &mut self,
        section: &mut Matching<'a>,
        items: &'a [Item],
    ) -> Result<(), ConfigError> {
        for item in items {
            match item {
                Item::Pair(pair) => add_pair(section, pair)?,
                Item::Section(node) => self.add_section(section, node)?,
                Item::Import(import) => self.import(import)?,
            }
        }
        Ok(())
    }

    fn import(&mut self, import: &Import) -> Result<(), ConfigError> {
        let error = |message: String| ConfigError::new(&import.place, message);
        let name = import.package.as_str();
        if let Some((_, reason)) = self.schema.refused.iter().find(|(known, _)| *known == name) {
            return Err(error(format!("%import {name}: {reason}")));
        }
        let packages = self.schema.packages;
        let Some(package) = packages.iter().find(|package| package.name == name) else {
            let names = || packages.iter().map(|package| package.name);
            let known = names().collect::<Vec<_>>().join(", ");
            let meant = suggestion(name, names());
            return Err(error(format!(
                "%import {name}: the package is not known here; there are {known}{meant}"
            )));
        };
        self.imported.push(package);
        Ok(())
    }

    /// The types of sections that are known by now.
    fn types(&self) -> impl Iterator<Item = &'static SectionType> {
        let imported = self.imported.iter().flat_map(|package| package.types);
        self.schema.types.iter().chain(imported).copied()
    }

    fn add_section(&mut self, parent: &mut Matching<'_>, node: &Node) -> Result<(), ConfigError> {
        let error = |message: String| ConfigError::new(&node.place, message);
        let Some(type_) = self.types().find(|type_| type_.name == node.kind) else {
            return Err(error(self.unknown_section(parent.type_, node)));
        };
        let name = node.name.as_deref();
        let (index, slot) = find_slot(parent, type_, name)
            .ok_or_else(|| error(self.misplaced_section(parent.type_, node)))?
            .map_err(error)?;
        if matches!(name, Some("*" | "+")) {
            return Err(error(format!("<{}> cannot have that name", node.kind)));
        }
        let mut section = Matching::new(type_, node.name.clone(), node.place.clone());
        self.fill(&mut section, &node.items)?;
        let section = self.finish(section, &node.end)?;
        let known = parent.sections.iter().map(|(_, section)| section);
        if let Some(name) = name
            && let Some(other) = known.clone().find(|section| section.name() == Some(name))
        {
            let place = &other.place;
            return Err(error(format!(
                "a section with the name {name:?} stands here already, at {place}"
            )));
        }
        let mut taken = parent.sections.iter().filter(|(other, _)| *other == index);
        if !slot.is_multiple
            && let Some((_, other)) = taken.next()
        {
            let (title, place) = (parent.title(), &other.place);
            return Err(error(format!(
                "{title} has place for one <{}>, which is at {place}",
                other.kind()
            )));
        }
        parent.sections.push((index, section));
        Ok(())
    }

    fn unknown_section(&self, parent: &SectionType, node: &Node) -> String {
        let kind = &node.kind;
        let importable = self
            .schema
            .packages
            .iter()
            .find(|package| package.types.iter().any(|type_| type_.name == *kind));
        if let Some(package) = importable {
            return format!(
                "<{kind}> is known only after \"%import {}\"; write that line before it",
                package.name
            );
        }
        let known: Vec<&str> = self.fitting(parent).collect();
        let meant = suggestion(kind, known.into_iter());
        format!("there is no section <{kind}>{meant}")
    }

    fn misplaced_section(&self, parent: &SectionType, node: &Node) -> String {
        let known: Vec<&str> = self.fitting(parent).collect();
        let (kind, title) = (&node.kind, title(parent));
        if known.is_empty() {
            return format!("{title} has no sections in it, and no <{kind}>");
        }
        format!(
            "{title} has no section <{kind}>; there may be <{}>",
            known.join(">, <")
        )
    }

    fn fitting(&self, parent: &SectionType) -> impl Iterator<Item = &'static str> {
        self.types()
            .filter(|type_| parent.slots().any(|slot| type_.fits(slot)))
            .map(|type_| type_.name)
    }

    /// Looks for what is missing, and gives all values their types.
    fn finish(&self, matching: Matching<'_>, end: &Place) -> Result<Section, ConfigError> {
        let type_ = matching.type_;
        let title = matching.title();
        let mut settings = Vec::new();
        for key in type_.keys() {
            let mut pairs = matching
                .pairs
                .iter()
                .filter(|(known, _)| known.name == key.name)
                .peekable();
            if pairs.peek().is_none() {
                if key.is_required {
                    let message = format!("{title} needs the key \"{}\"", key.name);
                    return Err(ConfigError::new(end, message));
                }
                settings.extend(self.default(key));
            }
            for (_, pair) in pairs {
                let value = key
                    .datatype
                    .convert(&pair.value, self.world)
                    .map_err(|error| {
                        ConfigError::new(&pair.place, format!("{}: {error}", key.name))
                    })?;
                settings.push(Setting {
                    key: key.name,
                    value,
                    place: Some(pair.place.clone()),
                });
            }
        }
        for (index, child) in type_.children().enumerate() {
            if let Child::Slot(slot) = child
                && slot.is_required
                && !matching.sections.iter().any(|(other, _)| *other == index)
            {
                return Err(ConfigError::new(end, self.missing(&title, slot)));
            }
        }
        let mut sections = matching.sections;
        sections.sort_by_key(|(index, _)| *index);
        let section = Section {
            type_,
            name: matching.name,
            place: matching.place,
            settings,
            sections: sections.into_iter().map(|(_, section)| section).collect(),
        };
        if let Some(rule) = type_.rule {
            rule(&section, self.world).map_err(|(key, message)| section.error(key, message))?;
        }
        Ok(section)
    }

    fn default(&self, key: &Key) -> Option<Setting> {
        let value = key
            .datatype
            .convert(key.default?, self.world)
            .expect("a test converts all defaults");
        Some(Setting {
            key: key.name,
            value,
            place: None,
        })
    }

    fn missing(&self, title: &str, slot: &Slot) -> String {
        let kinds: Vec<&str> = self
            .types()
            .filter(|type_| type_.fits(slot))
            .map(|type_| type_.name)
            .collect();
        match kinds.as_slice() {
            [kind] => format!("{title} needs a section <{kind}>"),
            kinds => format!("{title} needs a section, one of <{}>", kinds.join(">, <")),
        }
    }
}

fn add_pair<'a>(section: &mut Matching<'a>, pair: &'a Pair) -> Result<(), ConfigError> {
    let error = |message: String| Err(ConfigError::new(&pair.place, message));
    if !is_key(&pair.key) {
        return error(format!("{:?} is no name of a key", pair.key));
    }
    let name = pair.key.to_lowercase();
    let title = section.title();
    let Some(key) = section.type_.keys().find(|key| key.name == name) else {
        let meant = suggestion(&name, section.type_.keys().map(|key| key.name));
        return error(format!("{title} has no key \"{name}\"{meant}"));
    };
    let mut known = section.pairs.iter();
    if !key.is_multiple
        && let Some((_, other)) = known.find(|(other, _)| other.name == key.name)
    {
        let place = &other.place;
        return error(format!("\"{name}\" is set already, at {place}"));
    }
    section.pairs.push((key, pair));
    Ok(())
}

/// The place for such a section: its number among the children. `None` where there is none, an error
/// where the section's name is a key's that comes before it.
fn find_slot(
    parent: &Matching<'_>,
    type_: &'static SectionType,
    name: Option<&str>,
) -> Option<Result<(usize, &'static Slot), String>> {
    for (index, child) in parent.type_.children().enumerate() {
        match child {
            Child::Key(key) if Some(key.name) == name => {
                return Some(Err(format!(
                    "\"{}\" is a key here; give the section another name",
                    key.name
                )));
            }
            Child::Key(_) => {}
            Child::Slot(slot) if type_.fits(slot) => return Some(Ok((index, slot))),
            Child::Slot(_) => {}
        }
    }
    None
}
