//! The accounts of the server, for its operators.

use axum::extract::State;
use axum::http::request::Parts;
use leptos::prelude::*;

use super::accounts_table::{AccountsTable, DisableDialog};
use super::{ServerTabs, operators_only};
use crate::accounts::Account;
use crate::app::islands::icons::{SEARCH, icon};
use crate::app::kit::{Flash, Frame, Page, Section, Toasts, take_flash};
use crate::app::links::accounts::{ACCOUNTS, AccountsLink};
use crate::app::shell::{Answer, Document};
use crate::model::{ApiError, Timestamp, UserId};
use crate::web::Services;
use crate::web::auth::SignedIn;

/// The contents of the page.
struct List {
    frame: Frame,
    me: UserId,
    here: AccountsLink,
    accounts: Vec<Account>,
    next: Option<AccountsLink>,
    flash: Option<Flash>,
    now: Timestamp,
}

/// `GET /server/accounts`.
///
/// # Errors
/// 401 without a session, 403 for everyone but operators, 503 when the database fails.
pub async fn accounts(
    State(services): State<Services>,
    SignedIn(person): SignedIn,
    parts: Parts,
) -> Result<Answer, ApiError> {
    operators_only(&person)?;
    let here = AccountsLink::read(parts.uri.query());
    let (after, text) = (here.after.as_deref().unwrap_or_default(), here.text.as_deref().unwrap_or_default());
    // One more than the page shows tells whether there is another page.
    let limit = i64::try_from(AccountsLink::PAGE + 1).unwrap_or(i64::MAX);
    let mut accounts = services.accounts.list(after, text, limit).await?;
    let has_more = accounts.len() > AccountsLink::PAGE;
    accounts.truncate(AccountsLink::PAGE);
    let next = accounts.last().filter(|_| has_more).map(|last| here.after(&last.email));
    let page = List {
        me: person.id,
        frame: Frame::of(person, &parts),
        here,
        accounts,
        next,
        flash: take_flash(&parts).await?,
        now: services.clock.now(),
    };
    Ok(Document::new("Accounts · Server", move || view! { <AccountsPage page/> }).into())
}

#[component]
fn AccountsPage(page: List) -> AnyView {
    let List { frame, me, here, accounts, next, flash, now } = page;
    let asked = accounts.iter().find(|account| Some(account.id) == here.disable && account.id != me);
    let dialog = asked.map(|account| view! { <DisableDialog email=account.email.clone() here=here.clone()/> });
    let is_asking = dialog.is_some();
    let is_first = here.after.is_none();
    let list = here.without_dialog().href();
    let content = if accounts.is_empty() {
        let clear = AccountsLink::default().href();
        view! {
            <section class="empty">
                <h2>"No account matches"</h2>
                <p>"No e-mail address on this page contains this text."</p>
                <a class="button" href=clear>"Show all accounts"</a>
            </section>
        }
        .into_any()
    } else {
        view! { <AccountsTable accounts me here=here.without_dialog() now/> }.into_any()
    };
    view! {
        <Page frame section=Section::Server inert=is_asking>
            <div class="page-head">
                <div>
                    <h1>"Accounts"</h1>
                    <p class="lead">
                        "Everyone who can sign in to this server. A disabled account has no session and no token, and "
                        "cannot sign in. The API keys that it created stay valid."
                    </p>
                </div>
            </div>
            <div class="filters">
                <ServerTabs current=ACCOUNTS/>
                <form class="search" role="search" method="get" action=ACCOUNTS>
                    {icon(SEARCH)}
                    <label class="visually-hidden" for="q">"Search accounts by e-mail address"</label>
                    <input
                        class="input"
                        id="q"
                        name="q"
                        type="search"
                        placeholder="Search by e-mail address"
                        value=here.text.clone().unwrap_or_default()
                        autocomplete="off"
                        enterkeyhint="search"
                    />
                    <button class="visually-hidden" type="submit">"Search"</button>
                </form>
            </div>
            {content}
            {(!is_first || next.is_some()).then(|| view! { <Pager here=here.clone() is_first next/> })}
        </Page>
        {dialog}
        <Toasts flash here=list/>
    }
    .into_any()
}

#[component]
fn Pager(here: AccountsLink, is_first: bool, next: Option<AccountsLink>) -> impl IntoView {
    let step = |words: &'static str, to: Option<AccountsLink>| match to {
        Some(link) => view! { <a class="button small" href=link.href()>{words}</a> }.into_any(),
        None => view! { <span class="button small" aria-disabled="true">{words}</span> }.into_any(),
    };
    let first = AccountsLink { text: here.text, ..AccountsLink::default() };
    view! {
        <nav class="pager" aria-label="Pages">
            <p>{format!("By e-mail address, {} accounts a page", AccountsLink::PAGE)}</p>
            <div class="pages">{step("First", (!is_first).then_some(first))} {step("Next", next)}</div>
        </nav>
    }
}
