//! The small shapes messages are made of: recipients, flags, header fields, extended properties.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::date;
use super::input::Taken;
use super::json::Json;
use super::property::PropertyId;
use super::reply::Refusal;
use super::state::{Content, Flag, Given, Recipient};

pub(super) type Members<'j, 'a> = &'j [(std::borrow::Cow<'a, str>, Json<'a>)];

pub(super) fn object<'j, 'a>(v: &'j Json<'a>, what: &str) -> Taken<Members<'j, 'a>> {
    v.object().ok_or_else(|| Refusal::body(format!("A '{what}' must be an object.")))
}

pub(super) fn nullable(v: &Json<'_>, name: &str) -> Taken<Option<String>> {
    match v {
        Json::Null => Ok(None),
        Json::Text(t) => Ok(Some(t.to_string())),
        _ => Err(wrong(name)),
    }
}

pub(super) fn one_of(v: &Json<'_>, name: &str, allowed: &[&str]) -> Taken<String> {
    let text = v.text().ok_or_else(|| wrong(name))?.to_ascii_lowercase();
    if allowed.contains(&text.as_str()) { Ok(text) } else { Err(wrong(name)) }
}

pub(super) fn body(v: &Json<'_>) -> Taken<Option<(bool, Content)>> {
    if *v == Json::Null {
        return Ok(None);
    }
    let (mut html, mut content) = (false, String::new());
    for (name, v) in object(v, "itemBody")? {
        match name.as_ref() {
            "contentType" => html = one_of(v, name, &["text", "html"])? == "html",
            "content" => content = nullable(v, name)?.unwrap_or_default(),
            "@odata.type" => {}
            _ => return Err(unknown(name, "itemBody")),
        }
    }
    Ok(Some((html, Content::new(Bytes::from(content)))))
}

pub(super) fn optional_recipient(v: &Json<'_>) -> Taken<Option<Recipient>> {
    if *v == Json::Null { Ok(None) } else { recipient(v).map(Some) }
}

pub(super) fn recipients(v: &Json<'_>, name: &str) -> Taken<Vec<Recipient>> {
    v.list().ok_or_else(|| wrong(name))?.iter().map(recipient).collect()
}

fn recipient(v: &Json<'_>) -> Taken<Recipient> {
    let mut address = None;
    for (name, v) in object(v, "recipient")? {
        match name.as_ref() {
            "emailAddress" => address = Some(v),
            "@odata.type" => {}
            _ => return Err(unknown(name, "recipient")),
        }
    }
    let missing =
        || Refusal::new(400, "ErrorInvalidRecipients", "At least one recipient has no e-mail address.");
    let address = address.ok_or_else(missing)?;
    let mut recipient = Recipient { name: None, address: None };
    for (name, v) in object(address, "emailAddress")? {
        match name.as_ref() {
            "name" => recipient.name = nullable(v, name)?,
            "address" => recipient.address = nullable(v, name)?,
            "@odata.type" => {}
            _ => return Err(unknown(name, "emailAddress")),
        }
    }
    match recipient.address.as_deref().map(str::trim) {
        None | Some("") => Err(missing()),
        Some(text) if text.chars().any(char::is_control) => Err(missing()),
        Some(_) => Ok(recipient),
    }
}

pub(super) fn flag(v: &Json<'_>) -> Taken<Flag> {
    let mut flag = Flag::default();
    for (name, v) in object(v, "followupFlag")? {
        match name.as_ref() {
            "flagStatus" => {
                flag.status = match one_of(v, name, &["notflagged", "flagged", "complete"])?.as_str() {
                    "flagged" => "flagged".into(),
                    "complete" => "complete".into(),
                    _ => "notFlagged".into(),
                };
            }
            "startDateTime" => flag.start = zoned(v, name)?,
            "dueDateTime" => flag.due = zoned(v, name)?,
            "completedDateTime" => flag.completed = zoned(v, name)?,
            "@odata.type" => {}
            _ => return Err(unknown(name, "followupFlag")),
        }
    }
    if flag.due.is_some() && flag.start.is_none() {
        return Err(Refusal::new(400, "ErrorInvalidRequest", "A due date needs a start date."));
    }
    Ok(flag)
}

fn zoned(v: &Json<'_>, name: &str) -> Taken<Option<(String, String)>> {
    if *v == Json::Null {
        return Ok(None);
    }
    let (mut when, mut zone) = (None, None);
    for (name, v) in object(v, "dateTimeTimeZone")? {
        match name.as_ref() {
            "dateTime" => when = nullable(v, name)?,
            "timeZone" => zone = nullable(v, name)?,
            "@odata.type" => {}
            _ => return Err(unknown(name, "dateTimeTimeZone")),
        }
    }
    match (when, zone) {
        (Some(when), Some(zone))
            if when.parse::<jiff::civil::DateTime>().is_ok() || date::read(&when).is_some() =>
        {
            Ok(Some((when, zone)))
        }
        _ => Err(wrong(name)),
    }
}

/// At most five fields, names beginning with `x-`, values of at most 995 characters.
pub(super) fn headers(v: &Json<'_>) -> Taken<Vec<(String, String)>> {
    let list = v.list().ok_or_else(|| wrong("internetMessageHeaders"))?;
    let mut out = Vec::new();
    for one in list {
        let (mut field, mut value) = (String::new(), String::new());
        for (name, v) in object(one, "internetMessageHeader")? {
            match name.as_ref() {
                "name" => field = nullable(v, name)?.unwrap_or_default(),
                "value" => value = nullable(v, name)?.unwrap_or_default(),
                "@odata.type" => {}
                _ => return Err(unknown(name, "internetMessageHeader")),
            }
        }
        let lower = field.to_ascii_lowercase();
        if !lower.starts_with("x-") || !field.bytes().all(|b| (33..127).contains(&b) && b != b':') {
            return Err(Refusal::new(
                400,
                "InvalidInternetMessageHeader",
                format!("The internet message header name '{field}' should start with 'x-' or 'X-'."),
            ));
        }
        if value.chars().count() > 995 || value.contains(['\r', '\n', '\0']) {
            return Err(Refusal::new(
                400,
                "InvalidInternetMessageHeader",
                "The internet message header value is too long or holds a line end.",
            ));
        }
        out.push((field, value));
    }
    if out.len() > 5 {
        return Err(Refusal::new(
            400,
            "InvalidInternetMessageHeaderCollection",
            "Maximum number of headers in one message should be less than or equal to 5.",
        ));
    }
    Ok(out)
}

pub(super) fn properties(v: &Json<'_>) -> Taken<Vec<Given>> {
    let mut seen = BTreeMap::new();
    for one in v.list().ok_or_else(|| wrong("singleValueExtendedProperties"))? {
        let (mut id, mut value) = (None, None);
        for (name, v) in object(one, "singleValueLegacyExtendedProperty")? {
            match name.as_ref() {
                "id" => id = nullable(v, name)?,
                "value" => value = Some(nullable(v, name)?.ok_or_else(|| wrong(name))?),
                "@odata.type" => {}
                _ => return Err(unknown(name, "singleValueLegacyExtendedProperty")),
            }
        }
        let id = id.as_deref().and_then(PropertyId::read).ok_or_else(|| {
            Refusal::new(400, "ErrorInvalidExtendedProperty", "The extended property's id is not valid.")
        })?;
        let value = value.as_deref().and_then(|v| id.value(v)).ok_or_else(|| {
            Refusal::new(400, "ErrorInvalidExtendedPropertyValue", "The value is not of the property's type.")
        })?;
        if seen.insert(id.canonical.clone(), (id, value)).is_some() {
            return Err(Refusal::new(400, "ErrorInvalidExtendedProperty", "A property is given twice."));
        }
    }
    Ok(seen.into_values().collect())
}

pub(super) fn wrong(name: &str) -> Refusal {
    Refusal::body(format!("The value of the property '{name}' has the wrong type or is not allowed."))
}

pub(super) fn unknown(name: &str, on: &str) -> Refusal {
    Refusal::body(format!("The property '{name}' does not exist on type 'microsoft.graph.{on}'."))
}
