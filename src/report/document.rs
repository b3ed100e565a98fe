//! The document model: sections of text, lists, tables and charts, for every renderer.
//!
//! Text is plain here. The renderers (`html`, `markdown`, `terminal`)
//! escape it.

use crate::variant::Variant;

use super::charts::Chart;

/// A part of the document with a heading.
#[derive(Clone)]
pub struct Section {
    /// For links within the document.
    pub id: &'static str,
    pub title: String,
    pub blocks: Vec<Block>,
}

impl Section {
    pub fn new(id: &'static str, title: impl Into<String>, blocks: Vec<Block>) -> Section {
        Section { id, title: title.into(), blocks }
    }
}

/// A part of a section.
#[derive(Clone)]
pub enum Block {
    Heading(String),
    Paragraph(Tone, String),
    List(Vec<(Tone, String)>),
    /// Names with their descriptions.
    Terms(Vec<(String, String)>),
    Table(Table),
    /// Only renderers that can draw show these.
    Charts(Vec<Chart>),
    /// Blocks under a title, collapsed where that is possible.
    Details(String, Vec<Block>),
    /// Text and target of links.
    Links(Vec<(String, String)>),
}

impl Block {
    pub fn text(text: impl Into<String>) -> Block {
        Block::Paragraph(Tone::Normal, text.into())
    }

    pub fn note(text: impl Into<String>) -> Block {
        Block::Paragraph(Tone::Note, text.into())
    }

    pub fn heading(text: impl Into<String>) -> Block {
        Block::Heading(text.into())
    }

    pub fn list<T: Into<String>>(lines: impl IntoIterator<Item = T>) -> Block {
        Block::List(lines.into_iter().map(|line| (Tone::Normal, line.into())).collect())
    }
}

/// How prominent a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Normal,
    /// Less prominent than the rest.
    Note,
    Strong,
    Void,
}

/// Rows of fields under a head.
#[derive(Clone)]
pub struct Table {
    pub head: Vec<Field>,
    /// Leading columns that name the row.
    pub names: usize,
    /// Whether the columns after the names contain numbers.
    pub is_numeric: bool,
    pub rows: Vec<Row>,
}

/// A row of a table.
#[derive(Clone)]
pub enum Row {
    /// A heading over the rows that follow.
    Section(&'static str),
    Fields(Vec<Field>),
}

/// One field of a table.
#[derive(Clone)]
pub struct Field {
    pub text: String,
    pub tone: Tone,
    /// Additional lines in smaller print.
    pub details: Vec<String>,
    /// The transport that the field names.
    pub variant: Option<Variant>,
    /// The name in `results.csv` of the figure that the field names.
    pub figure: Option<&'static str>,
}

impl Field {
    pub fn new(text: impl Into<String>) -> Field {
        let text = text.into();
        Field { text, tone: Tone::Normal, details: Vec::new(), variant: None, figure: None }
    }

    pub fn toned(text: impl Into<String>, tone: Tone) -> Field {
        Field { tone, ..Field::new(text) }
    }

    /// The name of a transport, in its colour.
    pub fn variant(variant: impl Into<Variant>) -> Field {
        let variant = variant.into();
        Field { variant: Some(variant), ..Field::new(variant.label()) }
    }

    /// In place of a figure that does not exist.
    pub fn none() -> Field {
        Field::toned("—", Tone::Note)
    }

    /// In place of a figure of a void transport.
    pub fn void() -> Field {
        Field::toned("void", Tone::Void)
    }
}
