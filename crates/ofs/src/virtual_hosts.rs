//! `VirtualHostMonster`: URLs as they are seen from outside.
//!
//! It acts on the reversed stack of names. `VirtualHostBase/<scheme>/<host>` sets what URLs begin
//! with, `VirtualHostRoot` the object that is their root; `_vh_` names before it are shown in
//! URLs though there is no object for them. Without either, a map from host names to paths is
//! looked at. Traversal then passes the monster itself, with the path from outside as next name.

use std::sync::Arc;

use pickle::Value;
use publisher::{Class, Member, Placed, PublishError, Requirement, Target, Traversal, Urls, quote};
use zodb::Object;

/// `Products.SiteAccess.VirtualHostMonster.VirtualHostMonster`.
pub(crate) struct VirtualHosts;

impl Class for VirtualHosts {
    fn member(&self, _name: &str) -> Option<Arc<Member>> {
        None
    }

    fn requirement(&self) -> Requirement {
        Requirement::Inherited
    }

    fn id(&self, object: &Object) -> String {
        object
            .state()
            .get("id")
            .and_then(Value::as_text)
            .unwrap_or_default()
            .into_owned()
    }

    fn call(
        &self,
        _call: &mut publisher::Call<'_>,
        this: &Placed,
    ) -> Result<publisher::Answer, PublishError> {
        Err(PublishError::unsupported(this.object().class().to_string()))
    }

    fn before_traverse(
        &self,
        this: &Placed,
        traversal: &mut Traversal<'_>,
    ) -> Result<(), PublishError> {
        let id = self.id(this.object());
        let mut path = None;
        let is_used = apply_base(traversal, &mut path)? | apply_root(traversal, &id, &mut path);
        if is_used || !crate::state::is_set(this, "have_map") {
            set_actual(traversal, path);
            return Ok(());
        }
        let Some(mapped) = mapped_path(this.object().state(), &traversal.urls().server) else {
            return Ok(());
        };
        let host = host_of(&traversal.urls().server);
        push_mapped(traversal.stack(), mapped, &id);
        apply_base(traversal, &mut path)?;
        // A star in a mapped path is the first label of the host.
        let label = host.split('.').next().unwrap_or_default().to_owned();
        let stack = traversal.stack();
        if stack.iter().any(|name| name == ROOT)
            && let Some(star) = stack.iter_mut().find(|name| *name == "*")
        {
            *star = label;
        }
        if apply_root(traversal, &id, &mut path) {
            set_actual(traversal, path);
        }
        Ok(())
    }

    fn traverse(
        &self,
        this: &Placed,
        traversal: &mut Traversal<'_>,
        name: &str,
    ) -> Option<Result<Target, PublishError>> {
        let Some(outside) = name.strip_prefix('/') else {
            return Some(Err(PublishError::unsupported(format!(
                "{}.{name}",
                this.object().class()
            ))));
        };
        let names: Vec<_> = outside.split('/').collect();
        let root = traversal.enter_virtual_root(&names);
        Some(
            root.ok_or_else(|| {
                PublishError::http(400, "There is no object before the virtual root.")
            }),
        )
    }
}

/// Takes `VirtualHostBase/<scheme>/<host>` off the stack.
fn apply_base(
    traversal: &mut Traversal<'_>,
    path: &mut Option<Vec<String>>,
) -> Result<bool, PublishError> {
    let stack = traversal.stack();
    if stack.last().is_none_or(|name| name != "VirtualHostBase") {
        return Ok(false);
    }
    stack.pop();
    let (Some(scheme), Some(host)) = (stack.pop(), stack.pop()) else {
        // Python raises an IndexError, which the hook swallows: the request goes on as it is.
        return Ok(false);
    };
    *path = Some(stack.clone());
    set_server(traversal.urls(), &scheme, &host)?;
    Ok(true)
}

/// Turns `VirtualHostRoot` and the `_vh_` names before it into a path and the monster's own id.
fn apply_root(traversal: &mut Traversal<'_>, id: &str, path: &mut Option<Vec<String>>) -> bool {
    let stack = traversal.stack();
    let Some(at) = stack.iter().position(|name| name == ROOT) else {
        return false;
    };
    let is_top = at == stack.len() - 1;
    let first = stack[..at].iter().position(|name| name.starts_with("_vh_"));
    let end = match first {
        Some(first) => {
            let outside: Vec<String> = stack[first..at]
                .iter()
                .rev()
                .map(|name| name.chars().skip("_vh_".len()).collect())
                .collect();
            let outside = format!("/{}", outside.join("/"));
            stack.splice(first..=at, [outside, id.to_owned()]);
            first + 1
        }
        None if at > 0 && stack[at - 1].starts_with('/') => {
            id.clone_into(&mut stack[at]);
            at
        }
        None => {
            id.clone_into(&mut stack[at]);
            stack.insert(at, "/".to_owned());
            at + 1
        }
    };
    *path = Some(stack[..end].to_vec());
    if is_top {
        // The root is here: no step is needed to get to it.
        let outside = stack[end - 1].clone();
        stack.truncate(stack.len() - 2);
        let names: Vec<_> = outside.split('/').collect();
        traversal.set_virtual_root(&names);
    }
    true
}

/// Sets the URL that the client asked for, as it is seen from outside.
fn set_actual(traversal: &mut Traversal<'_>, path: Option<Vec<String>>) {
    let Some(mut path) = path else { return };
    path.reverse();
    let outside = match path.first() {
        Some(first) if first.starts_with('/') => path.remove(0).split_off(1),
        _ => String::new(),
    };
    let urls = traversal.urls();
    let ends_with_slash = urls.actual.ends_with('/');
    let mut parts = vec![urls.server.clone()];
    if !outside.is_empty() {
        parts.push(outside);
    }
    parts.push(quote(&path.join("/")));
    let mut actual = parts.join("/");
    if ends_with_slash && !path.is_empty() {
        actual.push('/');
    }
    urls.actual = actual;
}

/// `setServerURL`: a default port is dropped, a host without a port keeps the one before.
fn set_server(urls: &mut Urls, scheme: &str, host: &str) -> Result<(), PublishError> {
    let default = match scheme {
        "http" => "80",
        "https" => "443",
        _ => {
            return Err(PublishError::unsupported(
                "a virtual host of another scheme",
            ));
        }
    };
    let before = host_of(&urls.server);
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) => (name, port),
        None => (host, before.rsplit_once(':').map_or("", |(_, port)| port)),
    };
    urls.server = if port.is_empty() || port == default {
        format!("{scheme}://{name}")
    } else {
        format!("{scheme}://{name}:{port}")
    };
    Ok(())
}

fn host_of(server: &str) -> String {
    server
        .split_once("://")
        .map_or(server, |(_, host)| host)
        .to_owned()
}

/// The reversed path that the map has for the host.
fn mapped_path(state: Value<'_>, server: &str) -> Option<Vec<String>> {
    let host = host_of(server).to_lowercase();
    let (name, port) = match host.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host.as_str(), None),
    };
    let ports = state
        .get("fixed_map")
        .and_then(|map| map.get(name))
        .or_else(|| {
            let map = state.get("sub_map")?;
            let mut name = name;
            loop {
                if let Some(ports) = map.get(name) {
                    return Some(ports);
                }
                name = name.split_once('.')?.1;
            }
        })?;
    let by_port = |wanted: Option<&str>| {
        ports.entries().find(|(port, _)| match wanted {
            None => port.is_none(),
            Some(wanted) => port.as_text().is_some_and(|port| port == wanted),
        })
    };
    let (_, path) = by_port(port).or_else(|| by_port(None))?;
    let path: Option<Vec<_>> = path
        .elements()
        .map(|name| Some(name.as_text()?.into_owned()))
        .collect();
    path.filter(|path| !path.is_empty())
}

/// Puts a mapped path onto the stack. One that does not say where its root is begins with a slash.
fn push_mapped(stack: &mut Vec<String>, mut mapped: Vec<String>, id: &str) {
    if mapped[0] == "/" {
        mapped.insert(1, id.to_owned());
    }
    stack.extend(mapped);
}

const ROOT: &str = "VirtualHostRoot";
