//! Paths to properties, and shapes: which properties an answer is to have.

use super::property::{self, PropertyId};
use super::reply::{Fail, Refusal};
use super::schema::{self, Violation, one, opt};
use super::xml::{Element, Space};

/// A property as a request names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Path {
    /// The element that tells it.
    Item(&'static str),
    /// The element that tells it.
    Folder(&'static str),
    /// One of a message's header fields.
    Header(String),
    Extended(PropertyId),
    /// A property of things that are not mail: never there.
    Foreign,
}

impl Path {
    /// Something that tells properties apart.
    pub(super) fn key(&self) -> String {
        match self {
            Path::Item(name) | Path::Folder(name) => (*name).to_owned(),
            Path::Header(name) => format!("header {}", name.to_ascii_lowercase()),
            Path::Extended(id) => id.canonical.clone(),
            Path::Foreign => String::new(),
        }
    }
}

const PATHS: &[&str] = &["FieldURI", "IndexedFieldURI", "ExtendedFieldURI"];

const FOREIGN: &[&str] = &[
    "meeting",
    "meetingRequest",
    "calendar",
    "task",
    "contacts",
    "distributionlist",
    "postitem",
    "conversation",
    "persona",
    "person",
]; // rustfmt would give each a line

/// Reads one path.
pub(super) fn path(element: &Element<'_>) -> Result<Path, Refusal> {
    if element.space != Space::Types || !PATHS.contains(&element.name) {
        return Err(Violation::of(element, "a path is due").into());
    }
    if element.name == "ExtendedFieldURI" {
        return property::read(element)?.map(Path::Extended).map_err(|code| extended(code).into());
    }
    let uri = element.attribute("FieldURI").unwrap_or("");
    if element.name == "IndexedFieldURI" {
        let index = element.attribute("FieldIndex").unwrap_or("");
        return match uri {
            "item:InternetMessageHeader" if !index.is_empty() => Ok(Path::Header(index.to_owned())),
            _ if uri.starts_with("contacts:") || uri.starts_with("distributionlist:") => Ok(Path::Foreign),
            _ => Err(Violation::of(element, "FieldURI is not of the enumeration").into()),
        };
    }
    let wrong = || Violation::of(element, format!("FieldURI '{uri}' is not of the enumeration"));
    let (family, name) = uri.split_once(':').ok_or_else(wrong)?;
    let first_of_message = schema::MESSAGE.iter().position(|n| *n == "Sender").unwrap_or(0);
    let place = schema::MESSAGE.iter().position(|n| *n == name);
    match (family, place) {
        ("item", Some(place)) if place < first_of_message => Ok(Path::Item(schema::MESSAGE[place])),
        ("message", Some(place)) if place >= first_of_message => Ok(Path::Item(schema::MESSAGE[place])),
        ("folder", _) => schema::FOLDER
            .iter()
            .find(|n| **n == name && **n != "ExtendedProperty")
            .map(|n| Path::Folder(n))
            .ok_or_else(|| wrong().into()),
        (family, _) if FOREIGN.contains(&family) => Ok(Path::Foreign),
        _ => Err(wrong().into()),
    }
}

pub(super) fn extended(code: &'static str) -> Fail {
    let text = match code {
        "ErrorInvalidExtendedPropertyValue" => "The extended property value is invalid.",
        _ => "The extended property attribute combination is invalid.",
    };
    Fail::new(code, text)
}

/// How much is told of each thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    IdOnly,
    Default,
    All,
}

/// The properties wanted.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) base: Base,
    pub(super) mime: bool,
    /// `true`: HTML, `false`: text; `None`: the best there is.
    pub(super) html: Option<bool>,
    pub(super) more: Vec<Path>,
}

impl Shape {
    /// Is this element wanted?
    pub(super) fn wants(&self, name: &str, default: &[&str]) -> bool {
        (self.base == Base::Default && default.contains(&name))
            || self.more.iter().any(|p| matches!(p, Path::Item(n) | Path::Folder(n) if *n == name))
    }

    pub(super) fn extended(&self) -> impl Iterator<Item = &PropertyId> {
        self.more.iter().filter_map(|p| match p {
            Path::Extended(id) => Some(id),
            _ => None,
        })
    }
}

/// Reads an `ItemShape` or a `FolderShape`.
pub(super) fn shape(element: &Element<'_>) -> Result<Shape, Refusal> {
    let rules = if element.name == "FolderShape" {
        &[one("BaseShape"), opt("AdditionalProperties")][..]
    } else {
        &[
            one("BaseShape"),
            opt("IncludeMimeContent"),
            opt("BodyType"),
            opt("UniqueBodyType"),
            opt("NormalizedBodyType"),
            opt("FilterHtmlContent"),
            opt("ConvertHtmlCodePageToUTF8"),
            opt("InlineImageUrlTemplate"),
            opt("BlockExternalImages"),
            opt("AddBlankTargetToLinks"),
            opt("MaximumBodySize"),
            opt("AdditionalProperties"),
        ][..]
    };
    schema::sequence(element, Space::Types, rules)?;
    let base = element.child("BaseShape").map_or("", Element::word);
    let mut shape = Shape {
        base: match base {
            "IdOnly" => Base::IdOnly,
            "Default" => Base::Default,
            "AllProperties" => Base::All,
            _ => return Err(Violation::of(element, "BaseShape is not of the enumeration").into()),
        },
        mime: element.child("IncludeMimeContent").map(schema::boolean).transpose()?.unwrap_or(false),
        html: match element.child("BodyType").map(Element::word) {
            None | Some("Best") => None,
            Some("HTML") => Some(true),
            Some("Text") => Some(false),
            Some(_) => return Err(Violation::of(element, "BodyType is not of the enumeration").into()),
        },
        more: Vec::new(),
    };
    if let Some(more) = element.child("AdditionalProperties") {
        schema::several(more, Space::Types, PATHS)?;
        shape.more = more.children.iter().map(path).collect::<Result<_, Refusal>>()?;
    }
    shape.mime |= shape.more.contains(&Path::Item("MimeContent"));
    Ok(shape)
}
