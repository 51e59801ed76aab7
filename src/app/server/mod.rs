//! Pages about the server itself, for its operators.

pub(crate) mod accounts_page;
pub(crate) mod accounts_table;
pub(crate) mod cluster_page;
pub(crate) mod post;

use leptos::prelude::*;

use crate::app::links::SERVER;
use crate::app::links::accounts::ACCOUNTS;
use crate::domain::{Action, Person};
use crate::model::ApiError;

/// Refuses everyone but operators of the server.
///
/// # Errors
/// 403.
fn operators_only(person: &Person) -> Result<(), ApiError> {
    if person.may(Action::SeeServer) {
        return Ok(());
    }
    Err(ApiError::forbidden("Only an operator of this server may see this page."))
}

/// The links between the pages of the server. `current` is the path of the page.
#[component]
fn ServerTabs(current: &'static str) -> impl IntoView {
    let link = |(path, words): (&'static str, &'static str)| {
        view! { <a href=path aria-current=(path == current).then_some("page")>{words}</a> }
    };
    view! {
        <nav class="segmented" aria-label="Server">
            {[(SERVER, "Nodes"), (ACCOUNTS, "Accounts")].map(link).collect_view()}
        </nav>
    }
}
