//! The stock classes: which Python name each has, and who answers for it.

use std::sync::Arc;

use pickle::Value;
use publisher::{Answer, Call, Class, Member, Placed, PublishError, Requirement, UserFolder};
use security::Setting;
use zodb::{ClassName, Connection, Object};

use crate::edit::Edit;
use crate::members::{self, Members};
use crate::pdata::Data;
use crate::{dav, file, item, page, user_folder};

/// A stock class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stock {
    /// `OFS.Application.Application`.
    Application,
    /// `OFS.Folder.Folder`.
    Folder,
    /// `OFS.OrderedFolder.OrderedFolder`.
    OrderedFolder,
    /// `OFS.Image.File`.
    File,
    /// `OFS.Image.Image`.
    Image,
    /// `OFS.DTMLMethod.DTMLMethod`.
    DtmlMethod,
    /// `OFS.DTMLDocument.DTMLDocument`.
    DtmlDocument,
    /// `OFS.userfolder.UserFolder`.
    UserFolder,
}

impl Stock {
    /// All of them with module and name in Python, older names included.
    pub(crate) const ALL: &[(&str, &str, Self)] = &[
        ("OFS.Application", "Application", Self::Application),
        ("OFS.Folder", "Folder", Self::Folder),
        ("OFS.OrderedFolder", "OrderedFolder", Self::OrderedFolder),
        ("OFS.Image", "File", Self::File),
        ("OFS.Image", "Image", Self::Image),
        ("OFS.DTMLMethod", "DTMLMethod", Self::DtmlMethod),
        ("OFS.DTMLDocument", "DTMLDocument", Self::DtmlDocument),
        ("OFS.userfolder", "UserFolder", Self::UserFolder),
        ("AccessControl.User", "UserFolder", Self::UserFolder),
        ("AccessControl.userfolder", "UserFolder", Self::UserFolder),
    ];

    fn members(self) -> &'static Members {
        Members::of(match self {
            Self::Application => 'A',
            Self::Folder => 'F',
            Self::OrderedFolder => 'R',
            Self::File => 'B',
            Self::Image => 'I',
            Self::DtmlMethod => 'M',
            Self::DtmlDocument => 'D',
            Self::UserFolder => 'U',
        })
    }

    pub(crate) fn is_folder(self) -> bool {
        matches!(self, Self::Application | Self::Folder | Self::OrderedFolder)
    }

    pub(crate) fn is_file(self) -> bool {
        matches!(self, Self::File | Self::Image)
    }

    pub(crate) fn is_image(self) -> bool {
        self == Self::Image
    }

    pub(crate) fn is_dtml(self) -> bool {
        matches!(self, Self::DtmlMethod | Self::DtmlDocument)
    }

    pub(crate) fn is_user_folder(self) -> bool {
        self == Self::UserFolder
    }

    /// The id of an instance.
    pub(crate) fn id_of(self, this: &Placed) -> String {
        self.id(this.object())
    }

    /// The stock class of this Python name.
    pub(crate) fn of_class(class: &ClassName) -> Option<Self> {
        let known = Self::ALL
            .iter()
            .find(|(module, name, _)| class.is(module, name));
        known.map(|(_, _, stock)| *stock)
    }

    /// The kind of item, as listed in folders.
    pub(crate) fn meta_type(self) -> &'static str {
        match self {
            Self::Application | Self::Folder => "Folder",
            Self::OrderedFolder => "Folder (Ordered)",
            Self::File => "File",
            Self::Image => "Image",
            Self::DtmlMethod => "DTML Method",
            Self::DtmlDocument => "DTML Document",
            Self::UserFolder => "User Folder",
        }
    }

    /// The state of a new instance, as its constructor makes it. Data and source are still to come.
    pub(crate) fn new_item(self, id: &str) -> Edit {
        let own = Self::ALL.iter().find(|(_, _, stock)| *stock == self);
        let (module, name, _) = own.expect("every stock class has a name");
        let edit = Edit::new(module, name);
        match self {
            Self::File | Self::Image => edit
                .set_str("__name__", id)
                .set_str("title", "")
                .set_str("precondition", ""),
            // Python cannot load a page without the two dicts.
            Self::DtmlMethod | Self::DtmlDocument => edit
                .set_str("raw", "")
                .set_str("encoding", "UTF-8")
                .set("globals", |pickles| pickles.dict(Vec::new()))
                .set("_vars", |pickles| pickles.dict(Vec::new()))
                .set_str("__name__", id),
            Self::Folder | Self::OrderedFolder => edit.set_str("id", id),
            Self::Application | Self::UserFolder => edit,
        }
    }

    /// The class's own title.
    pub(crate) fn default_title(self) -> &'static str {
        match self {
            Self::Application => "Zope",
            Self::UserFolder => "User Folder",
            _ => "",
        }
    }

    /// The ids of the properties that the class defines.
    pub(crate) fn default_properties(self) -> &'static [&'static str] {
        match self {
            Self::Image => &["title", "alt", "content_type", "height", "width"],
            Self::File => &["title", "content_type"],
            _ => &["title"],
        }
    }

    /// `get_size`: bytes of a file, characters of a source. Other classes have no such method.
    pub(crate) fn size(
        self,
        connection: &Connection,
        this: &Placed,
    ) -> Result<Option<u64>, PublishError> {
        let state = this.object().state();
        if self.is_dtml() {
            let source = state
                .get("raw")
                .and_then(Value::as_text)
                .unwrap_or_default();
            return Ok(Some(source.chars().count() as u64));
        }
        if !self.is_file() {
            return Ok(None);
        }
        let stored = state.get("size").and_then(Value::as_int);
        if let Some(size) = stored.and_then(|size| u64::try_from(size).ok()) {
            return Ok(Some(size));
        }
        Data::of(this)?.len(connection).map(Some)
    }
}

impl Class for Stock {
    fn member(&self, name: &str) -> Option<Arc<Member>> {
        self.members().get(name)
    }

    fn requirement(&self) -> Requirement {
        self.members().requirement()
    }

    fn id(&self, object: &Object) -> String {
        let attribute = if self.is_file() || self.is_dtml() {
            "__name__"
        } else {
            "id"
        };
        let stored = object.state().get(attribute).and_then(Value::as_text);
        match stored {
            Some(id) => id.into_owned(),
            None if self.is_user_folder() => "acl_users".to_owned(),
            None => String::new(),
        }
    }

    fn call(&self, call: &mut Call<'_>, this: &Placed) -> Result<Answer, PublishError> {
        match self {
            Self::DtmlMethod | Self::DtmlDocument => page::call(*self, call, this),
            Self::File => file::text(call.connection, this).map(Answer::Text),
            Self::Image => item::tag(call, this).map(Answer::Text),
            Self::Application | Self::Folder | Self::OrderedFolder | Self::UserFolder => {
                let class = this.object().class().name();
                Ok(Answer::Text(format!("<{class} at {}>", self.id_of(this))))
            }
        }
    }

    fn call_member(
        &self,
        call: &mut Call<'_>,
        this: &Placed,
        name: &str,
    ) -> Result<Answer, PublishError> {
        let own = if self.is_file() {
            file::call(self, call, this, name)
        } else if self.is_dtml() {
            page::call_member(*self, call, this, name)
        } else {
            None
        };
        own.or_else(|| dav::call(self, call, this, name))
            .or_else(|| item::call(*self, call, this, name))
            .unwrap_or_else(|| {
                Err(PublishError::unsupported(format!(
                    "{}.{name}",
                    this.object().class()
                )))
            })
    }

    fn render_error(
        &self,
        call: &mut Call<'_>,
        this: &Placed,
        client: &Placed,
    ) -> Option<Result<String, PublishError>> {
        self.is_dtml()
            .then(|| page::render_for(*self, call, this, client))
    }

    fn class_setting(&self, attribute: &str) -> Option<Setting> {
        if *self == Self::Application {
            members::application_setting(attribute)
        } else {
            None
        }
    }

    fn is_top(&self) -> bool {
        *self == Self::Application
    }

    fn holds_items(&self) -> bool {
        self.is_folder()
    }

    fn user_folder(&self) -> Option<&dyn UserFolder> {
        self.is_user_folder().then_some(&user_folder::Stored)
    }
}
