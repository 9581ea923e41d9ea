//! The URLs of a request: as it came, and as objects have them.

use crate::url::quote;

/// The URLs of a request, as `REQUEST` offers them.
#[derive(Clone, Debug, Default)]
pub struct Urls {
    /// `http://host:port`.
    pub server: String,
    /// The path of the virtual root as it is seen from outside, quoted.
    pub script: Vec<String>,
    /// The names that were traversed below it, quoted.
    pub steps: Vec<String>,
    /// The physical path of the virtual root.
    pub virtual_root: Vec<String>,
    /// The URL that was asked for, under the virtual host (`ACTUAL_URL`).
    pub actual: String,
}

impl Urls {
    /// The URL of the object that was reached (`URL`).
    pub fn url(&self) -> String {
        self.join(self.script.iter().chain(&self.steps))
    }

    /// `URLn`: without the last `n` names.
    pub fn url_without(&self, count: usize) -> Option<String> {
        let kept = (self.script.len() + self.steps.len()).checked_sub(count)?;
        Some(self.join(self.script.iter().chain(&self.steps).take(kept)))
    }

    /// `BASEn`: the server for 0 and 1 where there is no virtual root, then one more name each.
    pub fn base(&self, count: usize) -> Option<String> {
        match count.checked_sub(1) {
            Some(names) if names > self.steps.len() => None,
            Some(names) => Some(self.join(self.script.iter().chain(self.steps.iter().take(names)))),
            None => {
                let kept = self.script.len().saturating_sub(1);
                Some(self.join(self.script.iter().take(kept)))
            }
        }
    }

    /// The URL of a physical path, under the virtual host (`physicalPathToURL`).
    pub fn of_physical_path(&self, path: &[String]) -> String {
        let names: Vec<_> = self
            .below_root(path)
            .iter()
            .map(|name| quote(name))
            .collect();
        self.join(self.script.iter().chain(&names))
    }

    /// The path part of [`Urls::of_physical_path`]; empty for the root.
    pub fn path_of_physical_path(&self, path: &[String]) -> String {
        self.of_physical_path(path).split_off(self.server.len())
    }

    fn below_root<'p>(&self, path: &'p [String]) -> &'p [String] {
        let common = path
            .iter()
            .zip(&self.virtual_root)
            .take_while(|(one, other)| one == other);
        &path[common.count()..]
    }

    fn join<'p>(&self, names: impl Iterator<Item = &'p String>) -> String {
        names.fold(self.server.clone(), |mut url, name| {
            url.push('/');
            url.push_str(name);
            url
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn hosted() -> Urls {
        Urls {
            server: "http://h".to_owned(),
            script: words(&["out"]),
            steps: words(&["a", "b"]),
            virtual_root: words(&["", "site"]),
            actual: String::new(),
        }
    }

    #[test]
    fn urls_lose_their_last_names() {
        let urls = hosted();
        assert_eq!(urls.url(), "http://h/out/a/b");
        assert_eq!(urls.url_without(1).as_deref(), Some("http://h/out/a"));
        assert_eq!(urls.url_without(3).as_deref(), Some("http://h"));
        assert_eq!(urls.url_without(4), None);
    }

    #[test]
    fn bases_begin_at_the_virtual_root() {
        let urls = hosted();
        assert_eq!(urls.base(0).as_deref(), Some("http://h"));
        assert_eq!(urls.base(1).as_deref(), Some("http://h/out"));
        assert_eq!(urls.base(3).as_deref(), Some("http://h/out/a/b"));
        assert_eq!(urls.base(4), None);
    }

    #[test]
    fn physical_paths_are_seen_from_the_virtual_root() {
        let urls = hosted();
        let path = words(&["", "site", "x y"]);
        assert_eq!(urls.of_physical_path(&path), "http://h/out/x%20y");
        assert_eq!(urls.path_of_physical_path(&path), "/out/x%20y");
        // An object outside keeps the whole of its path.
        assert_eq!(
            urls.of_physical_path(&words(&["", "other"])),
            "http://h/out/other"
        );
    }
}
