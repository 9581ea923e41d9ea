//! A small site for an empty database, which Zope opens as well.

use std::sync::Arc;

use publisher::PublishError;
use storage::{CommitError, Oid, StorageError, Tid, TransactionMeta};
use zodb::{Connection, Database, Reference, ZodbError};

use crate::content_type;
use crate::edit::Edit;
use crate::image::{self, ImageInfo};
use crate::pdata;
use crate::stock::Stock;

/// Why the sample site could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SampleError {
    /// There is something already; nothing was changed.
    #[error("the database is not empty: a sample site is made only in an empty one")]
    NotEmpty,
    /// The name of the administrator cannot be one.
    #[error("{name:?} cannot be a login name: it is empty or holds a colon")]
    Name {
        /// The name.
        name: String,
    },
    /// An object could not be made.
    #[error(transparent)]
    Make(#[from] PublishError),
    /// The transaction was refused.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl From<ZodbError> for SampleError {
    fn from(error: ZodbError) -> Self {
        Self::Make(error.into())
    }
}

/// Fills an empty database with a site, in one transaction: pages, a stylesheet, an image, a folder
/// of news, a larger file, and a user folder with one administrator.
///
/// `admin` is the login name and the password, clear or encoded as AuthEncoding does
/// (`{SSHA}...`). The administrator has the role Manager and owns everything.
///
/// # Errors
/// [`SampleError::NotEmpty`] where the database has a root object; storage errors.
pub fn create(database: &Arc<Database>, admin: (&str, &str)) -> Result<Tid, SampleError> {
    let (name, password) = admin;
    if name.is_empty() || name.contains(':') {
        return Err(SampleError::Name {
            name: name.to_owned(),
        });
    }
    let connection = database.connect();
    match connection.root() {
        Ok(_root) => return Err(SampleError::NotEmpty),
        Err(ZodbError::Storage(StorageError::NotFound { .. })) => {}
        Err(error) => return Err(error.into()),
    }
    let mut site = Site {
        connection,
        admin: name,
    };
    site.fill(password)?;
    let meta = TransactionMeta {
        user: b" System Processes".to_vec(),
        description: b"Created the sample site".to_vec(),
        extension: Vec::new(),
    };
    Ok(site.connection.commit(meta)?)
}

/// A site being made.
struct Site<'a> {
    connection: Connection,
    admin: &'a str,
}

/// An item that was made: its id, its class, and how to refer to it.
type Item = (&'static str, Stock, Reference);

impl Site<'_> {
    fn fill(&mut self, password: &str) -> Result<(), SampleError> {
        let users = self.users(password)?;
        let mut items: Vec<Item> = vec![("acl_users", Stock::UserFolder, users.clone())];
        for (id, title, source) in METHODS {
            items.push(self.page(Stock::DtmlMethod, id, title, source, &[])?);
        }
        items.push(self.page(
            Stock::DtmlDocument,
            "about",
            "About this site",
            ABOUT,
            &[SUMMARY],
        )?);
        items.push(self.file("style.css", "", include_bytes!("../data/sample/style.css"))?);
        items.push(self.file(
            "logo.png",
            "Zodiac",
            include_bytes!("../data/sample/logo.png"),
        )?);
        items.push(self.file("guide.txt", "Guide", guide().as_bytes())?);
        items.push(self.news()?);
        let application = with_items(Edit::new("OFS.Application", "Application"), &items)
            .set_str("title", "Zodiac")
            .set_reference("__allow_groups__", &users)
            .create(&mut self.connection)?;
        let mut root = Edit::new("persistent.mapping", "PersistentMapping");
        root = root.set("data", |pickles| {
            let application = application.write(pickles);
            let data = pickles.dict(Vec::new());
            pickles.dict_set(data, "Application", application);
            data
        });
        Ok(root.store(&mut self.connection, Oid::ROOT)?)
    }

    fn users(&mut self, password: &str) -> Result<Reference, SampleError> {
        let stored = if security::password::is_encoded(password.as_bytes()) {
            password.as_bytes().to_vec()
        } else {
            // The salt is no secret; it only has to differ from site to site.
            let salt: Vec<u8> = (0..security::password::SALT_LEN)
                .map(|_| fastrand::u8(..))
                .collect();
            security::password::encode(password, &salt)
        };
        let admin = Edit::new("AccessControl.users", "User")
            .set_str("name", self.admin)
            .set_bytes("__", &stored)
            .set("roles", |pickles| {
                let manager = pickles.str("Manager");
                pickles.list(vec![manager])
            })
            .set("domains", |pickles| pickles.list(Vec::new()))
            .create(&mut self.connection)?;
        let mapping = Edit::new("Persistence.mapping", "PersistentMapping")
            .set("data", |pickles| {
                let admin = admin.write(pickles);
                let users = pickles.dict(Vec::new());
                pickles.dict_set(users, self.admin, admin);
                users
            })
            .create(&mut self.connection)?;
        let folder = Edit::new("OFS.userfolder", "UserFolder")
            .set_reference("data", &mapping)
            .set("_ofs_migrated", |pickles| pickles.bool(true));
        Ok(folder.create(&mut self.connection)?)
    }

    fn page(
        &mut self,
        stock: Stock,
        id: &'static str,
        title: &str,
        source: &str,
        properties: &[(&str, &str)],
    ) -> Result<Item, SampleError> {
        let mut page = self
            .owned(stock.new_item(id))
            .set_str("raw", source)
            .set_str("title", title);
        if !properties.is_empty() {
            page = page.set("_properties", |pickles| {
                let names =
                    std::iter::once("title").chain(properties.iter().map(|(name, _)| *name));
                let listed = names
                    .map(|name| {
                        let property = pickles.dict(Vec::new());
                        for (key, value) in [("id", name), ("type", "string")] {
                            let value = pickles.str(value);
                            pickles.dict_set(property, key, value);
                        }
                        property
                    })
                    .collect();
                pickles.tuple(listed)
            });
            for (name, value) in properties {
                page = page.set_str(name, value);
            }
        }
        Ok((id, stock, page.create(&mut self.connection)?))
    }

    fn file(&mut self, id: &'static str, title: &str, data: &[u8]) -> Result<Item, SampleError> {
        let kind = content_type::guess(id, data, None);
        let info = image::info(data);
        let stock = if matches!(info, ImageInfo::Known(..)) {
            Stock::Image
        } else {
            Stock::File
        };
        let size = i64::try_from(data.len()).unwrap_or(i64::MAX);
        let mut file = self
            .owned(stock.new_item(id))
            .set_str("title", title)
            .set_str("content_type", &kind)
            .set_int("size", size);
        file = match pdata::store(&mut self.connection, data)? {
            Some(chain) => file.set_reference("data", &chain),
            None => file.set_bytes("data", data),
        };
        if let ImageInfo::Known(_, Some((width, height))) = info {
            file = file
                .set_int("width", width.into())
                .set_int("height", height.into());
        }
        Ok((id, stock, file.create(&mut self.connection)?))
    }

    fn news(&mut self) -> Result<Item, SampleError> {
        let index = include_str!("../data/sample/news_index_html.dtml");
        let mut items = vec![self.page(Stock::DtmlMethod, "index_html", "", index, &[])?];
        for (id, title, source) in NEWS {
            items.push(self.page(Stock::DtmlDocument, id, title, source, &[])?);
        }
        let folder = self
            .owned(Stock::Folder.new_item("news"))
            .set_str("title", "News");
        let folder = with_items(folder, &items).create(&mut self.connection)?;
        Ok(("news", Stock::Folder, folder))
    }

    fn owned(&self, item: Edit) -> Edit {
        item.owned_by(Some(self.admin))
            .set_owner(&["acl_users".to_owned()], self.admin)
    }
}

fn with_items(folder: Edit, items: &[Item]) -> Edit {
    items.iter().fold(folder, |folder, (id, stock, reference)| {
        folder
            .add_item(id, stock.meta_type())
            .set_reference(id, reference)
    })
}

/// A text long enough to be kept in links.
fn guide() -> String {
    use std::fmt::Write as _;
    let mut guide = include_str!("../data/sample/guide_start.txt").to_owned();
    for line in 1..=GUIDE_LINES {
        // Writing to a String cannot fail.
        let _ = writeln!(
            guide,
            "{line:>5}  {}",
            GUIDE_FACTS[line % GUIDE_FACTS.len()]
        );
    }
    guide
}

const GUIDE_LINES: usize = 4000;

const GUIDE_FACTS: &[&str] = &[
    "An address is a path: each name in it asks the object before it.",
    "What an object lacks, it acquires from the folders around it.",
    "A request is one transaction: it happens as a whole or not at all.",
    "Who changes an object that another changed meanwhile begins anew.",
    "A file of 64 KiB or more is a chain of objects, as this one is.",
    "Roles are given to users, permissions to roles, place by place.",
    "The storage server tells publishers what has become stale.",
];

const METHODS: &[(&str, &str, &str)] = &[
    (
        "standard_html_header",
        "Header",
        include_str!("../data/sample/standard_html_header.dtml"),
    ),
    (
        "standard_html_footer",
        "Footer",
        include_str!("../data/sample/standard_html_footer.dtml"),
    ),
    (
        "standard_error_message",
        "Error page",
        include_str!("../data/sample/standard_error_message.dtml"),
    ),
    (
        "index_html",
        "Start",
        include_str!("../data/sample/index_html.dtml"),
    ),
];

const NEWS: &[(&str, &str, &str)] = &[
    (
        "first-light",
        "First light",
        include_str!("../data/sample/first-light.dtml"),
    ),
    (
        "three-tiers",
        "Three tiers",
        include_str!("../data/sample/three-tiers.dtml"),
    ),
];

const ABOUT: &str = include_str!("../data/sample/about.dtml");

const SUMMARY: (&str, &str) = (
    "summary",
    "A document with properties of its own, edited by a form.",
);
