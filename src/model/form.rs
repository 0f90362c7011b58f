//! What the octets of an item are.

/// What the octets of an item are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Form {
    /// A message as it travels: RFC 5322 with MIME.
    #[default]
    Mime,
    /// An item of any class as the opaque stream a Microsoft store exported it as (Graph `exportItems`, EWS
    /// `ExportItems`). Nobody but such a store looks into it.
    Stream {
        /// Its message class as the source tells it (`IPM.Note`, `IPM.Contact`).
        class: String,
    },
}
