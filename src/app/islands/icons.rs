//! The icons: strokes in a square of 16 units, in the colour of the surrounding text.

use leptos::prelude::*;

/// Adds something.
pub const PLUS: &str = r#"<path d="M8 3v10M3 8h10"/>"#;
/// Opens a menu below.
pub const DOWN: &str = r#"<path d="m4.5 6.5 3.5 3.5 3.5-3.5"/>"#;
/// Chosen, or done.
pub const CHECK: &str = r#"<path d="m3.5 8.5 3 3 6-7"/>"#;
/// Copies something.
pub const COPY: &str = r#"<rect x="5.5" y="5.5" width="7.5" height="8" rx="1.5"/><path d="M10.5 3.2V3A1 1 0 0 0 9.5 2H4a1 1 0 0 0-1 1v6.5a1 1 0 0 0 1 1h.2"/>"#;
/// Searches.
pub const SEARCH: &str = r#"<circle cx="7" cy="7" r="4"/><path d="m10 10 3.2 3.2"/>"#;
/// A warning or an error.
pub const ALERT: &str = r#"<path d="M8 5.2v3.3M8 10.9v.1"/><circle cx="8" cy="8" r="6"/>"#;
/// Shown only once.
pub const ONCE: &str = r#"<path d="M2 8s2.2-4 6-4 6 4 6 4-2.2 4-6 4-6-4-6-4Z"/><circle cx="8" cy="8" r="1.6"/>"#;
/// Removes something.
pub const CROSS: &str = r#"<path d="m4 4 8 8M12 4l-8 8"/>"#;
/// Leads back.
pub const BACK: &str = r#"<path d="M9.5 3.5 5 8l4.5 4.5"/>"#;
/// Saves something as a file.
pub const DOWNLOAD: &str = r#"<path d="M8 2.5v7.5M4.8 7 8 10.2 11.2 7M3 13.2h10"/>"#;
/// Success.
pub const OK: &str = r#"<circle cx="8" cy="8" r="6"/><path d="m5.4 8.2 1.8 1.8 3.4-3.8"/>"#;

/// Opens the links between the pages.
pub const MENU: &str = r#"<path d="M2.5 4.5h11M2.5 8h11M2.5 11.5h11"/>"#;
/// Keys.
pub const KEY: &str = r#"<circle cx="5" cy="5.5" r="2.8"/><path d="m7 7.5 6 6M10.5 11l1.6-1.6M12.6 13.1l1.2-1.2"/>"#;
/// Events that came in.
pub const INBOX: &str =
    r#"<path d="M2.5 9.5v3a1 1 0 0 0 1 1h9a1 1 0 0 0 1-1v-3h-3l-1 1.8h-3l-1-1.8zM8 2v5M5.8 5 8 7.2 10.2 5"/>"#;
/// General settings.
pub const SLIDERS: &str = r#"<path d="M2.5 5h5M11.5 5h2M2.5 11h2M8.5 11h5"/><circle cx="9.5" cy="5" r="1.8"/><circle cx="6.5" cy="11" r="1.8"/>"#;
/// Members.
pub const PEOPLE: &str = r#"<circle cx="6" cy="5.5" r="2.5"/><path d="M1.8 13.2c.3-2.5 1.9-3.9 4.2-3.9s3.9 1.4 4.2 3.9M10.8 3.2a2.5 2.5 0 0 1 0 4.6M12 9.6c1.3.5 2.1 1.7 2.3 3.6"/>"#;
/// Invitations.
pub const ENVELOPE: &str =
    r#"<rect x="2" y="3.5" width="12" height="9" rx="1.2"/><path d="m2.5 4.5 5.5 4.3 5.5-4.3"/>"#;
/// Environments.
pub const LAYERS: &str = r#"<path d="M8 2.2 14 5.4 8 8.6 2 5.4zM2.4 8.4 8 11.4l5.6-3M2.4 11 8 14l5.6-3"/>"#;
/// The documentation.
pub const BOOK: &str = r#"<path d="M8 4.2C6.8 3.2 5 2.8 2.5 2.8v9.4c2.5 0 4.3.4 5.5 1.4 1.2-1 3-1.4 5.5-1.4V2.8c-2.5 0-4.3.4-5.5 1.4zm0 0v9.4"/>"#;

/// Renders one of the icons above. Screen readers ignore it and read the text beside it.
pub fn icon(strokes: &'static str) -> impl IntoView {
    view! { <svg class="icon" viewBox="0 0 16 16" aria-hidden="true" inner_html=strokes></svg> }
}
