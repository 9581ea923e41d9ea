//! The names that `REQUEST` has: URLs, server variables, form fields.

use dtml::Value;
use publisher::{Call, Field, PublishError};

/// The value of a name in the order of `HTTPRequest.get`: variables of the publisher, URLs, server
/// variables, form fields, cookies.
pub(crate) fn lookup(call: &Call<'_>, name: &str) -> Result<Option<Value>, PublishError> {
    if let Some(value) = variable(call, name) {
        return Ok(Some(value));
    }
    for (prefix, of) in [("URL", call_url as UrlOf), ("BASE", call_base)] {
        if let Some(rest) = name.strip_prefix(prefix) {
            let (is_path, digits) = match rest.strip_prefix("PATH") {
                Some(digits) => (true, digits),
                None => (false, rest),
            };
            if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
                let count = digits.parse().unwrap_or(usize::MAX);
                return Ok(of(call, count).map(|url| {
                    let path = url
                        .get(call.urls.server.len()..)
                        .unwrap_or_default()
                        .to_owned();
                    Value::Text(if is_path { path } else { url })
                }));
            }
        }
    }
    if let Some(value) = server_variable(call, name) {
        return Ok(Some(value));
    }
    if let Some(value) = form_value(call, name) {
        return Ok(Some(value));
    }
    if has_cookie(call, name) {
        return Ok(Some(Value::Other("a cookie".to_owned())));
    }
    Ok(None)
}

type UrlOf = fn(&Call<'_>, usize) -> Option<String>;

fn call_url(call: &Call<'_>, count: usize) -> Option<String> {
    call.urls.url_without(count)
}

fn call_base(call: &Call<'_>, count: usize) -> Option<String> {
    call.urls.base(count)
}

/// The variables that publishing sets.
fn variable(call: &Call<'_>, name: &str) -> Option<Value> {
    let text = match name {
        "URL" => call.urls.url(),
        "SERVER_URL" => call.urls.server.clone(),
        "ACTUAL_URL" => call.urls.actual.clone(),
        "method" => call.request.method.to_uppercase(),
        "AUTHENTICATED_USER" => {
            let user = call.login?.user_id();
            user.unwrap_or("Anonymous User").to_owned()
        }
        "REQUEST"
        | "RESPONSE"
        | "PARENTS"
        | "PUBLISHED"
        | "BODY"
        | "BODYFILE"
        | "SESSION"
        | "TraversalRequestNameStack"
        | "VirtualRootPhysicalPath"
        | "VIRTUAL_URL"
        | "VIRTUAL_URL_PARTS"
        | "AUTHENTICATION_PATH"
        | "traverse_subpath"
        | "URLS" => {
            return Some(Value::Other(name.to_owned()));
        }
        _ => return None,
    };
    Some(Value::Text(text))
}

/// The variables of CGI. Those a server does not set are empty.
fn server_variable(call: &Call<'_>, name: &str) -> Option<Value> {
    if let Some(header) = name.strip_prefix("HTTP_") {
        // Passwords are hidden.
        if matches!(header, "AUTHORIZATION" | "CGI_AUTHORIZATION") {
            return Some(Value::from(""));
        }
        let header = header.replace('_', "-").to_lowercase();
        let value = match header.as_str() {
            "host" => Some(call.request.host.as_str()),
            header => call.request.header(header),
        };
        return Some(Value::from(value.unwrap_or_default()));
    }
    let request = call.request;
    let text = match name {
        "REQUEST_METHOD" => request.method.clone(),
        "QUERY_STRING" => request.query.clone(),
        "SCRIPT_NAME" => String::new(),
        "CONTENT_TYPE" => request
            .header("content-type")
            .unwrap_or_default()
            .to_owned(),
        "REMOTE_ADDR" => request
            .remote_addr
            .map(|address| address.to_string())
            .unwrap_or_default(),
        "AUTH_TYPE" | "REMOTE_HOST" | "REMOTE_IDENT" | "PATH_TRANSLATED" => String::new(),
        "SERVER_SOFTWARE" | "SERVER_NAME" | "GATEWAY_INTERFACE" | "SERVER_PROTOCOL"
        | "SERVER_PORT" | "PATH_INFO" | "REMOTE_USER" | "CONTENT_LENGTH" => {
            return Some(Value::Other(name.to_owned()));
        }
        _ => return None,
    };
    Some(Value::Text(text))
}

/// A form field. Text that holds a `<` is tainted: it is quoted wherever it is inserted.
fn form_value(call: &Call<'_>, name: &str) -> Option<Value> {
    let mut fields = call.form.all(name);
    let first = fields.next()?;
    Some(match first {
        _ if fields.next().is_some() => Value::Other("a list of form values".to_owned()),
        Field::Text(text) if text.contains('<') => Value::Tainted(text.clone()),
        Field::Text(text) => Value::from(text.as_str()),
        Field::File { .. } => Value::Other("an uploaded file".to_owned()),
    })
}

fn has_cookie(call: &Call<'_>, name: &str) -> bool {
    let cookies = call.request.header("cookie").unwrap_or_default();
    cookies.split(';').any(|cookie| {
        cookie
            .split('=')
            .next()
            .is_some_and(|known| known.trim() == name)
    })
}
