//! The part of OData's `$filter` that the service takes for messages and folders; anything else is refused.

use super::date;
use super::property::PropertyId;
use super::reply::Refusal;

/// A parsed `$filter`.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    /// An extended property exists with a value that fits.
    Property(String, Test),
    /// A property of the item itself.
    Field(Field, Test),
}

/// Properties that can be filtered on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    DisplayName,
    InternetMessageId,
    Subject,
    ReceivedDateTime,
    SentDateTime,
    CreatedDateTime,
    IsRead,
    IsDraft,
    HasAttachments,
}

/// A comparison with a literal.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Test {
    Is(Op, Literal),
    StartsWith(String),
    Contains(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Eq,
    Ne,
    Ge,
    Gt,
    Le,
    Lt,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Text(String),
    Date(i64),
    Number(f64),
    Bool(bool),
    Null,
}

/// A value to hold against a test.
pub(super) enum Value<'a> {
    Text(&'a str),
    Date(i64),
    Bool(bool),
}

impl Filter {
    /// Reads a `$filter`.
    pub(super) fn read(text: &str) -> Result<Filter, Refusal> {
        let bad = || Refusal::query(format!("Invalid filter clause: '{}'.", clip(text)));
        if text.len() > 8192 {
            return Err(bad());
        }
        let tokens = tokens(text).ok_or_else(bad)?;
        let mut parser = Parser { tokens: &tokens, at: 0, depth: 0 };
        let filter = parser.any().ok_or_else(bad)?;
        if parser.at != tokens.len() {
            return Err(bad());
        }
        filter.date_first()?;
        Ok(filter)
    }

    /// In a compound filter a date must come first, else the store cannot use its index.
    fn date_first(&self) -> Result<(), Refusal> {
        let Filter::All(parts) = self else { return Ok(()) };
        let dated = |f: &Filter| matches!(f, Filter::Field(Field::ReceivedDateTime | Field::SentDateTime, _));
        if parts.iter().skip(1).any(dated) && !parts.first().is_some_and(dated) {
            return Err(Refusal::new(
                400,
                "InefficientFilter",
                "The restriction or sort order is too complex for this operation.",
            ));
        }
        Ok(())
    }

    /// An extended property with a value (or its beginning) that every match must have: what the index can answer.
    pub(super) fn anchor(&self) -> Option<(&str, &str)> {
        match self {
            Filter::Property(id, Test::Is(Op::Eq, Literal::Text(v)) | Test::StartsWith(v)) => Some((id, v)),
            Filter::All(parts) => parts.iter().find_map(Filter::anchor),
            _ => None,
        }
    }

    /// Does it hold? `property` and `field` give the item's values.
    pub(super) fn holds<'a>(
        &self,
        ignore_case: bool,
        property: &dyn Fn(&str) -> Option<String>,
        field: &dyn Fn(Field) -> Option<Value<'a>>,
    ) -> bool {
        match self {
            Filter::All(parts) => parts.iter().all(|p| p.holds(ignore_case, property, field)),
            Filter::Any(parts) => parts.iter().any(|p| p.holds(ignore_case, property, field)),
            Filter::Property(id, test) => {
                property(id).is_some_and(|v| test.holds(ignore_case, &Value::Text(&v)))
            }
            Filter::Field(name, test) => field(*name).is_some_and(|v| test.holds(true, &v)),
        }
    }
}

impl Test {
    fn holds(&self, ignore_case: bool, value: &Value<'_>) -> bool {
        let fold = |t: &str| if ignore_case { t.to_lowercase() } else { t.to_owned() };
        match (self, value) {
            (Test::StartsWith(t), Value::Text(v)) => fold(v).starts_with(&fold(t)),
            (Test::Contains(t), Value::Text(v)) => fold(v).contains(&fold(t)),
            (Test::Is(op, Literal::Null), _) => *op == Op::Ne,
            (Test::Is(op, Literal::Text(t)), Value::Text(v)) => op.fits(fold(v).cmp(&fold(t))),
            (Test::Is(op, Literal::Number(t)), Value::Text(v)) => {
                v.parse::<f64>().ok().and_then(|v| v.partial_cmp(t)).is_some_and(|o| op.fits(o))
            }
            (Test::Is(op, Literal::Date(t)), Value::Text(v)) => {
                date::read(v).is_some_and(|v| op.fits(v.cmp(t)))
            }
            (Test::Is(op, Literal::Date(t)), Value::Date(v)) => op.fits(v.div_euclid(1000).cmp(&(t / 1000))),
            (Test::Is(op, Literal::Bool(t)), Value::Bool(v)) => op.fits(v.cmp(t)),
            (Test::Is(op, Literal::Bool(t)), Value::Text(v)) => {
                v.parse::<bool>().is_ok_and(|v| op.fits(v.cmp(t)))
            }
            _ => false,
        }
    }
}

impl Op {
    fn read(word: &str) -> Option<Op> {
        Some(match word {
            "eq" => Op::Eq,
            "ne" => Op::Ne,
            "ge" => Op::Ge,
            "gt" => Op::Gt,
            "le" => Op::Le,
            "lt" => Op::Lt,
            _ => return None,
        })
    }

    fn fits(self, o: std::cmp::Ordering) -> bool {
        match self {
            Op::Eq => o.is_eq(),
            Op::Ne => o.is_ne(),
            Op::Ge => o.is_ge(),
            Op::Gt => o.is_gt(),
            Op::Le => o.is_le(),
            Op::Lt => o.is_lt(),
        }
    }
}

impl Field {
    fn read(word: &str) -> Option<Field> {
        Some(match word {
            "displayName" => Field::DisplayName,
            "internetMessageId" => Field::InternetMessageId,
            "subject" => Field::Subject,
            "receivedDateTime" => Field::ReceivedDateTime,
            "sentDateTime" => Field::SentDateTime,
            "createdDateTime" => Field::CreatedDateTime,
            "isRead" => Field::IsRead,
            "isDraft" => Field::IsDraft,
            "hasAttachments" => Field::HasAttachments,
            _ => return None,
        })
    }

    /// Is a literal of this kind comparable with it?
    fn takes(self, literal: &Literal) -> bool {
        match self {
            Field::DisplayName | Field::InternetMessageId | Field::Subject => {
                matches!(literal, Literal::Text(_) | Literal::Null)
            }
            Field::ReceivedDateTime | Field::SentDateTime | Field::CreatedDateTime => {
                matches!(literal, Literal::Date(_))
            }
            Field::IsRead | Field::IsDraft | Field::HasAttachments => matches!(literal, Literal::Bool(_)),
        }
    }
}

#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Sign(u8),
}

/// `None` where a string does not end or a character has no place.
fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        match c {
            ' ' => rest = &rest[1..],
            '(' | ')' | ',' => {
                out.push(Token::Sign(u8::try_from(c).ok()?));
                rest = &rest[1..];
            }
            '\'' => {
                let mut value = String::new();
                rest = &rest[1..];
                loop {
                    let end = rest.find('\'')?;
                    value.push_str(&rest[..end]);
                    rest = &rest[end + 1..];
                    // A quote inside a string is written twice.
                    match rest.strip_prefix('\'') {
                        Some(more) => {
                            value.push('\'');
                            rest = more;
                        }
                        None => break,
                    }
                }
                out.push(Token::Text(value));
            }
            c if c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.' | '_') => {
                let end = rest
                    .find(|c: char| !(c.is_ascii_alphanumeric() || "-+._/:".contains(c)))
                    .unwrap_or(rest.len());
                out.push(Token::Word(rest[..end].to_owned()));
                rest = &rest[end..];
            }
            _ => return None,
        }
    }
    Some(out)
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn word(&mut self) -> Option<&str> {
        let Some(Token::Word(w)) = self.tokens.get(self.at) else { return None };
        self.at += 1;
        Some(w)
    }

    fn text(&mut self) -> Option<String> {
        let Some(Token::Text(t)) = self.tokens.get(self.at) else { return None };
        self.at += 1;
        Some(t.clone())
    }

    fn sign(&mut self, sign: u8) -> Option<()> {
        (self.tokens.get(self.at) == Some(&Token::Sign(sign))).then(|| self.at += 1)
    }

    fn keyword(&mut self, word: &str) -> bool {
        let is = matches!(self.tokens.get(self.at), Some(Token::Word(w)) if w == word);
        self.at += usize::from(is);
        is
    }

    fn any(&mut self) -> Option<Filter> {
        let mut parts = vec![self.all()?];
        while self.keyword("or") {
            parts.push(self.all()?);
        }
        if parts.len() == 1 { parts.pop() } else { Some(Filter::Any(parts)) }
    }

    fn all(&mut self) -> Option<Filter> {
        let mut parts = vec![self.one()?];
        while self.keyword("and") {
            parts.push(self.one()?);
        }
        if parts.len() == 1 { parts.pop() } else { Some(Filter::All(parts)) }
    }

    fn one(&mut self) -> Option<Filter> {
        if self.sign(b'(').is_some() {
            self.depth += 1;
            if self.depth > 16 {
                return None;
            }
            let inner = self.any()?;
            self.sign(b')')?;
            self.depth -= 1;
            return Some(inner);
        }
        let word = self.word()?.to_owned();
        match word.as_str() {
            "singleValueExtendedProperties/Any" | "singleValueExtendedProperties/any" => self.property(),
            "startswith" | "contains" => {
                let (name, test) = self.call(&word)?;
                let field = Field::read(&name)?;
                field.takes(&Literal::Text(String::new())).then_some(Filter::Field(field, test))
            }
            name => {
                let field = Field::read(name)?;
                let op = Op::read(self.word()?)?;
                let literal = self.literal()?;
                field.takes(&literal).then_some(Filter::Field(field, Test::Is(op, literal)))
            }
        }
    }

    /// `(ep: ep/id eq '…' and startswith(ep/value,'…'))`
    fn property(&mut self) -> Option<Filter> {
        self.sign(b'(')?;
        let variable = self.word()?;
        // `ep:ep/id` may come as one word.
        let (variable, first) = match variable.split_once(':')? {
            (v, "") => (v.to_owned(), None),
            (v, rest) => (v.to_owned(), Some(rest.to_owned())),
        };
        let first = match first {
            Some(word) => word,
            None => self.word()?.to_owned(),
        };
        if first != format!("{variable}/id") || !self.keyword("eq") {
            return None;
        }
        let id = PropertyId::read(&self.text()?)?;
        if !self.keyword("and") {
            return None;
        }
        let value = format!("{variable}/value");
        let word = self.word()?.to_owned();
        let test = match word.as_str() {
            "startswith" | "contains" => {
                let (name, test) = self.call(&word)?;
                (name == value).then_some(test)?
            }
            name if name == value => {
                let op = Op::read(self.word()?)?;
                Test::Is(op, self.literal()?)
            }
            _ => return None,
        };
        self.sign(b')')?;
        Some(Filter::Property(id.canonical, test))
    }

    /// The rest of `startswith(name,'text')`.
    fn call(&mut self, function: &str) -> Option<(String, Test)> {
        self.sign(b'(')?;
        let name = self.word()?.to_owned();
        self.sign(b',')?;
        let text = self.text()?;
        self.sign(b')')?;
        Some((name, if function == "contains" { Test::Contains(text) } else { Test::StartsWith(text) }))
    }

    fn literal(&mut self) -> Option<Literal> {
        if let Some(text) = self.text() {
            return Some(Literal::Text(text));
        }
        let word = self.word()?;
        Some(match word {
            "true" => Literal::Bool(true),
            "false" => Literal::Bool(false),
            "null" => Literal::Null,
            w if w.contains('T') || w.contains(':') => Literal::Date(date::read(w)?),
            w => Literal::Number(w.parse().ok()?),
        })
    }
}

fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "String {66F5A359-4659-4830-9070-00047EC6AC6E} Name Stamp";

    #[test]
    fn a_stamp_is_found_by_its_beginning() {
        let filter = Filter::read(&format!(
            "singleValueExtendedProperties/Any(ep: ep/id eq '{ID}' and startswith(ep/value,'a''b'))"
        ))
        .unwrap();
        let (id, value) = filter.anchor().unwrap();
        assert!(id.starts_with("String {66f5a359"));
        assert_eq!(value, "a'b");
        assert!(filter.holds(false, &|_| Some("a'bc".into()), &|_| None));
        assert!(!filter.holds(false, &|_| Some("A'bc".into()), &|_| None));
        assert!(!filter.holds(false, &|_| None, &|_| None));
    }

    #[test]
    fn what_the_service_does_not_take_is_refused() {
        for bad in [
            "",
            "bodyPreview eq 'x'",
            "isRead eq 'x'",
            "subject eq 'x",
            "subject eq 'x' and",
            "startswith(isRead,'x')",
            "singleValueExtendedProperties/Any(ep: ep/id eq 'nonsense' and ep/value eq 'x')",
            "singleValueExtendedProperties/Any(ep: ep/value eq 'x')",
            "endswith(subject,'x')",
        ] {
            assert!(Filter::read(bad).is_err(), "{bad}");
        }
        assert_eq!(
            Filter::read("isRead eq true and receivedDateTime ge 2020-01-01T00:00:00Z").unwrap_err().code,
            "InefficientFilter"
        );
        assert!(Filter::read("receivedDateTime ge 2020-01-01T00:00:00Z and isRead eq true").is_ok());
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = format!("{}isRead eq true{}", "(".repeat(500), ")".repeat(500));
        assert!(Filter::read(&deep).is_err());
    }
}
