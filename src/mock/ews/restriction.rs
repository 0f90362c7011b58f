//! Restrictions of searches, and orders of their results.
//! Source: Exchange documentation, `restriction`, `contains`, `constant`.

use super::date;
use super::property::Kind;
use super::reply::{Fail, Refusal};
use super::schema::{self, Violation};
use super::shape::{self, Path};
use super::xml::{Element, Space};

/// Expressions of one restriction.
const MAX_NODES: usize = 500;

/// What an item must be like.
#[derive(Debug, Clone)]
pub(super) enum Restriction {
    And(Vec<Restriction>),
    Or(Vec<Restriction>),
    Not(Box<Restriction>),
    Exists(Path),
    Compare(Path, &'static str, Operand),
    Contains { path: Path, mode: String, fold: bool, exact: bool, text: String },
    Excludes(Path, i64),
}

/// What is compared with.
#[derive(Debug, Clone)]
pub(super) enum Operand {
    Constant(String),
    Path(Path),
}

const COMPARISONS: &[&str] = &[
    "IsEqualTo",
    "IsNotEqualTo",
    "IsGreaterThan",
    "IsGreaterThanOrEqualTo",
    "IsLessThan",
    "IsLessThanOrEqualTo",
];

/// Reads a `Restriction` element.
pub(super) fn read(element: &Element<'_>) -> Result<Restriction, Refusal> {
    match element.children.as_slice() {
        [only] => expression(only, &mut 0),
        _ => Err(Violation::of(element, "one expression is due").into()),
    }
}

fn expression(element: &Element<'_>, nodes: &mut usize) -> Result<Restriction, Refusal> {
    *nodes += 1;
    if *nodes > MAX_NODES {
        return Err(Fail::new("ErrorRestrictionTooComplex", "The restriction is too complex.").into());
    }
    if element.space != Space::Types {
        return Err(Violation::of(element, "it is of another namespace than is due").into());
    }
    let mut all = |element: &Element<'_>| -> Result<Vec<Restriction>, Refusal> {
        if element.children.is_empty() {
            return Err(Violation::of(element, "it has incomplete content").into());
        }
        element.children.iter().map(|c| expression(c, nodes)).collect()
    };
    let pair = || match element.children.as_slice() {
        [first, second] => Ok((first, second)),
        _ => Err(Violation::of(element, "a path and an operand are due")),
    };
    if let Some(comparison) = COMPARISONS.iter().find(|c| **c == element.name) {
        let (first, second) = pair()?;
        return Ok(Restriction::Compare(searchable(first)?, comparison, operand(second)?));
    }
    Ok(match element.name {
        "And" => Restriction::And(all(element)?),
        "Or" => Restriction::Or(all(element)?),
        "Not" => match all(element)?.pop() {
            Some(inner) if element.children.len() == 1 => Restriction::Not(Box::new(inner)),
            _ => return Err(Violation::of(element, "one expression is due").into()),
        },
        "Exists" => match element.children.as_slice() {
            [path] => Restriction::Exists(searchable(path)?),
            _ => return Err(Violation::of(element, "one path is due").into()),
        },
        "Excludes" => {
            let (first, second) = pair()?;
            let value = second.attribute("Value").unwrap_or("");
            let mask = match value.strip_prefix("0x").or_else(|| value.strip_prefix("0X")) {
                Some(hex) => i64::from_str_radix(hex, 16).ok(),
                None => value.parse().ok(),
            };
            let mask = mask.ok_or_else(|| Violation::of(second, "it is no bit mask"))?;
            Restriction::Excludes(searchable(first)?, mask)
        }
        "Contains" => {
            let (first, second) = pair()?;
            if second.name != "Constant" {
                return Err(Violation::of(second, "a Constant is due").into());
            }
            let modes = ["FullString", "Prefixed", "Substring", "PrefixOnWords", "ExactPhrase"];
            let comparisons = [
                "Exact",
                "IgnoreCase",
                "IgnoreNonSpacingCharacters",
                "Loose",
                "IgnoreCaseAndNonSpacingCharacters",
                "LooseAndIgnoreCase",
                "LooseAndIgnoreNonSpace",
                "LooseAndIgnoreCaseAndIgnoreNonSpace",
            ];
            let mode = schema::choice(element, "ContainmentMode", &modes)?.unwrap_or("FullString");
            let comparison =
                schema::choice(element, "ContainmentComparison", &comparisons)?.unwrap_or("Exact");
            Restriction::Contains {
                path: searchable(first)?,
                mode: mode.to_owned(),
                fold: comparison.contains("IgnoreCase") || comparison == "Loose",
                exact: comparison == "Exact",
                text: second.attribute("Value").unwrap_or("").to_owned(),
            }
        }
        _ => return Err(Violation::of(element, "it is no search expression").into()),
    })
}

fn operand(element: &Element<'_>) -> Result<Operand, Refusal> {
    match (element.name, element.children.as_slice()) {
        ("FieldURIOrConstant", [inner]) if inner.name == "Constant" => match inner.attribute("Value") {
            Some(value) => Ok(Operand::Constant(value.to_owned())),
            None => Err(Violation::of(inner, "Value is required").into()),
        },
        ("FieldURIOrConstant", [inner]) => Ok(Operand::Path(searchable(inner)?)),
        _ => Err(Violation::of(element, "FieldURIOrConstant is due").into()),
    }
}

/// What searches know of an item.
const SEARCHABLE: &[&str] = &[
    "ItemClass",
    "Subject",
    "Sensitivity",
    "DateTimeReceived",
    "Size",
    "Categories",
    "Importance",
    "InReplyTo",
    "IsDraft",
    "DateTimeSent",
    "DateTimeCreated",
    "DisplayCc",
    "DisplayTo",
    "HasAttachments",
    "LastModifiedTime",
    "From",
    "Sender",
    "InternetMessageId",
    "IsRead",
    "References",
    "DisplayName",
    "FolderClass",
    "TotalCount",
    "ChildFolderCount",
    "UnreadCount",
    "IsReadReceiptRequested",
    "IsDeliveryReceiptRequested",
]; // rustfmt would give each a line

fn searchable(element: &Element<'_>) -> Result<Path, Refusal> {
    let path = shape::path(element)?;
    match &path {
        Path::Item(name) | Path::Folder(name) if !SEARCHABLE.contains(name) => {
            Err(Fail::new("ErrorUnsupportedPathForQuery", "The property can't be used in a search.").into())
        }
        _ => Ok(path),
    }
}

/// Tells a property's values; empty: it is not there.
pub(super) type Values<'a> = dyn Fn(&Path) -> Vec<String> + 'a;

impl Restriction {
    /// Does it hold? `loose`: strings are compared without regard to case.
    pub(super) fn holds(&self, values: &Values<'_>, loose: bool) -> bool {
        match self {
            Restriction::And(all) => all.iter().all(|r| r.holds(values, loose)),
            Restriction::Or(any) => any.iter().any(|r| r.holds(values, loose)),
            Restriction::Not(inner) => !inner.holds(values, loose),
            Restriction::Exists(path) => !values(path).is_empty(),
            Restriction::Excludes(path, mask) => {
                let bits = values(path).first().and_then(|v| v.parse::<i64>().ok()).unwrap_or(0);
                bits & mask == 0
            }
            Restriction::Contains { path, mode, fold, exact, text } => {
                let fold = *fold || (*exact && loose);
                values(path).iter().any(|value| contains(value, text, mode, fold))
            }
            Restriction::Compare(path, comparison, operand) => {
                let others = match operand {
                    Operand::Constant(text) => vec![text.clone()],
                    Operand::Path(other) => values(other),
                };
                let own = values(path);
                if own.is_empty() && *comparison == "IsNotEqualTo" {
                    return true;
                }
                let Some(other) = others.first() else { return false };
                own.iter().any(|value| {
                    let order = compare(kind(path), value, other, loose);
                    match *comparison {
                        "IsEqualTo" => order.is_eq(),
                        "IsNotEqualTo" => order.is_ne(),
                        "IsGreaterThan" => order.is_gt(),
                        "IsGreaterThanOrEqualTo" => order.is_ge(),
                        "IsLessThan" => order.is_lt(),
                        _ => order.is_le(),
                    }
                })
            }
        }
    }
}

fn contains(value: &str, text: &str, mode: &str, fold: bool) -> bool {
    let (value, text) =
        if fold { (value.to_lowercase(), text.to_lowercase()) } else { (value.to_owned(), text.to_owned()) };
    match mode {
        "FullString" => value == text,
        "Prefixed" => value.starts_with(&text),
        "PrefixOnWords" => value.split_whitespace().any(|word| word.starts_with(&text)),
        _ => value.contains(&text),
    }
}

/// What values of a path are compared as.
fn kind(path: &Path) -> Kind {
    match path {
        Path::Extended(id) => id.kind,
        Path::Item(name) | Path::Folder(name) => match *name {
            "DateTimeReceived" | "DateTimeSent" | "DateTimeCreated" | "LastModifiedTime" => Kind::Time,
            "Size" | "TotalCount" | "ChildFolderCount" | "UnreadCount" => Kind::Integer,
            _ => Kind::Text,
        },
        Path::Header(_) | Path::Foreign => Kind::Text,
    }
}

/// The order of two values.
pub(super) fn compare(kind: Kind, one: &str, other: &str, loose: bool) -> std::cmp::Ordering {
    match kind {
        Kind::Time => date::read(one).map(|t| t / 1000).cmp(&date::read(other).map(|t| t / 1000)),
        Kind::Short | Kind::Integer | Kind::Long => one.parse::<i64>().ok().cmp(&other.parse::<i64>().ok()),
        Kind::Decimal => one
            .parse::<f64>()
            .unwrap_or(0.0)
            .partial_cmp(&other.parse::<f64>().unwrap_or(0.0))
            .unwrap_or(std::cmp::Ordering::Equal),
        Kind::Boolean => truth(one).cmp(&truth(other)),
        Kind::Text | Kind::Binary | Kind::Guid if loose => one.to_lowercase().cmp(&other.to_lowercase()),
        Kind::Text | Kind::Binary | Kind::Guid => one.cmp(other),
    }
}

fn truth(text: &str) -> bool {
    matches!(text, "true" | "1")
}

/// An order of results: by each path, `true` means descending.
pub(super) type Order = Vec<(Path, bool)>;

/// Reads a `SortOrder`.
pub(super) fn order(element: &Element<'_>) -> Result<Order, Refusal> {
    schema::several(element, Space::Types, &["FieldOrder"])?;
    element
        .children
        .iter()
        .map(|field| {
            let descending = schema::required(field, "Order", &["Ascending", "Descending"])? == "Descending";
            match field.children.as_slice() {
                [path] => Ok((searchable(path)?, descending)),
                _ => Err(Violation::of(field, "one path is due").into()),
            }
        })
        .collect()
}

/// The order of two things.
pub(super) fn sort(order: &Order, one: &Values<'_>, other: &Values<'_>) -> std::cmp::Ordering {
    for (path, descending) in order {
        let (first, second) = (one(path), other(path));
        let found = match (first.first(), second.first()) {
            (Some(a), Some(b)) => compare(kind(path), a, b, true),
            (a, b) => a.is_some().cmp(&b.is_some()),
        };
        if found.is_ne() {
            return if *descending { found.reverse() } else { found };
        }
    }
    std::cmp::Ordering::Equal
}
