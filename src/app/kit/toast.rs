//! The result of the last action: kept in the session until the next page shows it once.

use axum::http::request::Parts;
use leptos::prelude::*;
use serde::{Deserialize, Serialize};
use tower_sessions::Session;

use super::{Sentence, session};
use crate::accounts::{FLASH, has_user};
use crate::app::islands::ToastKind;
use crate::app::islands::icons::{ALERT, CROSS, OK, icon};
use crate::app::shell::Answer;
use crate::model::ApiError;

/// A message for the next page.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Flash {
    /// Success or error.
    pub kind: ToastKind,
    /// The result; names in it are marked by [`isolate`](super::isolate).
    pub text: String,
    /// The consequence.
    pub detail: String,
}

impl Flash {
    /// A message of success.
    pub fn success(text: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { kind: ToastKind::Success, text: text.into(), detail: detail.into() }
    }

    /// A message of failure.
    pub fn error(text: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { kind: ToastKind::Error, text: text.into(), detail: detail.into() }
    }

    /// Redirects to a page that shows the message, unless the session has ended since the request began.
    ///
    /// # Errors
    /// When the session store fails.
    pub async fn on_page(&self, parts: &Parts, path: String) -> Result<Answer, ApiError> {
        let session = session(parts)?;
        if has_user(&session).await? {
            session.insert(FLASH, self).await?;
        }
        Ok(Answer::SeeOther(path))
    }
}

/// Takes the pending message out of the session.
///
/// # Errors
/// When the session store fails.
pub async fn take_flash(parts: &Parts) -> Result<Option<Flash>, ApiError> {
    match parts.extensions.get::<Session>() {
        // `remove` alone would count as a change, so every page would write its session.
        Some(session) if session.get_value(FLASH).await?.is_some() => Ok(session.remove(FLASH).await?),
        _ => Ok(None),
    }
}

/// Shows the message; `here` is the address of the page without it.
#[component]
pub fn Toasts(flash: Option<Flash>, here: String) -> impl IntoView {
    flash.map(|flash| {
        let (class, role, mark) = match flash.kind {
            ToastKind::Success => ("toast success", "status", OK),
            ToastKind::Error => ("toast error-toast", "alert", ALERT),
        };
        view! {
            <div class="toasts">
                <div class=class role=role>
                    {icon(mark)}
                    <p><Sentence text=flash.text/> " " <small>{flash.detail}</small></p>
                    <a class="icon-button" href=here aria-label="Dismiss" data-dismiss>{icon(CROSS)}</a>
                </div>
            </div>
        }
    })
}
