//! The top bar of a page: mark, organisation menu, environment menu, documentation, account menu.

use leptos::prelude::*;

use super::Frame;
use super::navigation::{Drawer, Section};
use crate::app::islands::icons::{CHECK, DOWN, PLUS, SEARCH, icon};
use crate::app::links::organisation::OrganisationLink;
use crate::app::links::place::EnvironmentPath;
use crate::app::links::{HOME, NEW_ORGANISATION, REFERENCE, SERVER, SIGN_OUT};
use crate::domain::{Action, Environment, Membership, Person};
use crate::model::Mode;

const MARK: &str = r#"<circle cx="10.5" cy="8.6" r="5.3"/><path d="M10.5 13.9V27H27.2M18 27v-6.2M24.6 27v-4.4"/>"#;

/// Number of organisations above which their menu has a search field.
const SEARCHED_ABOVE: usize = 8;

/// The name and mark, a link to the start page.
#[component]
pub fn Brand() -> AnyView {
    view! {
        <a class="brand" href=HOME aria-label="Latchkey, API keys">
            <svg
                class="brand-mark"
                viewBox="0 0 32 32"
                fill="none"
                stroke="currentColor"
                stroke-width="3.6"
                stroke-linejoin="round"
                aria-hidden="true"
                inner_html=MARK
            ></svg>
            <span class="brand-name">"Latchkey"</span>
        </a>
    }
    .into_any()
}

/// The top bar for a signed-in person.
#[component]
pub fn Bar(frame: Frame, section: Section) -> AnyView {
    let mode = frame.place.as_ref().map(|(_, environment)| environment.mode.as_str());
    let drawer = frame.place().zip(frame.place.clone().map(|(membership, _)| membership));
    let docs = (section == Section::Docs).then_some("page");
    let menus = frame.place.clone().map(|(membership, environment)| {
        view! {
            <span class="slash" aria-hidden="true"></span>
            <OrganisationMenu frame=frame.clone() section membership=membership.clone()/>
            <EnvironmentMenu section membership environment/>
        }
    });
    view! {
        <header class="topbar" data-mode=mode>
            <div class="topbar-inner">
                {drawer.map(|(place, membership)| view! { <Drawer place membership section/> })}
                <Brand/>
                {menus}
                <div class="topbar-end">
                    <a class="topbar-link" href=REFERENCE aria-current=docs>"Docs"</a>
                    <AccountMenu person=frame.person section/>
                </div>
            </div>
        </header>
    }
    .into_any()
}

/// The mark of a mode: a circle for live, a square for test, each in its own colour.
#[component]
pub fn ModeMark(mode: Mode) -> AnyView {
    let class = match mode {
        Mode::Live => "mode live",
        Mode::Test => "mode test",
    };
    view! { <span class=class aria-hidden="true"></span> }.into_any()
}

#[component]
fn OrganisationMenu(frame: Frame, section: Section, membership: Membership) -> AnyView {
    let current = membership.organisation;
    let memberships = recent_first(&frame);
    let search = (memberships.len() > SEARCHED_ABOVE).then(|| view! { <Search/> });
    let entry = |membership: Membership| {
        let organisation = membership.organisation;
        let remembered = frame.places().find(|place| place.organisation == organisation);
        let href = remembered
            .map_or_else(|| OrganisationLink(organisation).href(), |place| section.for_every_role().href(place));
        let is_current = organisation == current;
        view! {
            <li>
                <a class="menu-item" href=href aria-current=is_current.then_some("true")>
                    <bdi>{membership.name}</bdi>
                    <span class="end">{membership.role.as_str()}</span>
                    {is_current.then(|| icon(CHECK))}
                </a>
            </li>
        }
    };
    let entries = memberships.into_iter().map(entry).collect_view();
    view! {
        <details class="menu organisation" name="topbar-menu">
            <summary>
                <span class="visually-hidden">"Organisation: "</span>
                <span class="label"><bdi>{membership.name}</bdi></span>
                {icon(DOWN)}
            </summary>
            <nav class="menu-panel" aria-label="Organisations">
                <p class="menu-title">"Organisations"</p>
                {search}
                <ul>{entries}</ul>
                <hr/>
                <a class="menu-item" href=NEW_ORGANISATION>{icon(PLUS)} "New organisation"</a>
            </nav>
        </details>
    }
    .into_any()
}

/// Returns the current organisation, then the visited ones, newest first, then all others by name.
fn recent_first(frame: &Frame) -> Vec<Membership> {
    let mut memberships = frame.person.memberships.clone();
    let recent: Vec<_> = frame.place().into_iter().chain(frame.visited.places()).collect();
    memberships.sort_by_cached_key(|membership| {
        let visited = recent.iter().position(|place| place.organisation == membership.organisation);
        (visited.unwrap_or(usize::MAX), membership.name.to_lowercase())
    });
    memberships
}

/// The search field of a menu, for `page.js`; hidden without JavaScript.
#[component]
fn Search() -> AnyView {
    view! {
        <div class="menu-search needs-js">
            {icon(SEARCH)}
            <input
                class="input"
                type="search"
                aria-label="Search organisations"
                placeholder="Search organisations"
                autocomplete="off"
                spellcheck="false"
                data-narrows=""
            />
            <p class="menu-title" role="status" data-none=""></p>
        </div>
    }
    .into_any()
}

#[component]
fn EnvironmentMenu(section: Section, membership: Membership, environment: Environment) -> AnyView {
    let organisation = membership.organisation;
    let entry = |other: &Environment| {
        let is_current = other.id == environment.id;
        let kind = if other.archived_at.is_some() { "archived" } else { other.mode.as_str() };
        let place = EnvironmentPath { organisation, environment: other.id };
        view! {
            <li>
                <a
                    class="menu-item"
                    href=section.of_environment().href(place)
                    aria-current=is_current.then_some("true")
                >
                    <ModeMark mode=other.mode/>
                    <bdi>{other.name.clone()}</bdi>
                    <span class="end">{kind}</span>
                    {is_current.then(|| icon(CHECK))}
                </a>
            </li>
        }
    };
    // An archived environment is in the menu only while it is open.
    let is_shown = |other: &&Environment| other.archived_at.is_none() || other.id == environment.id;
    let entries = membership.environments.iter().filter(is_shown).map(entry).collect_view();
    view! {
        <details class="menu environment" name="topbar-menu">
            <summary>
                <span class="visually-hidden">"Environment: "</span>
                <ModeMark mode=environment.mode/>
                <span class="label"><bdi>{environment.name.clone()}</bdi></span>
                <span class="visually-hidden">{format!(" ({})", environment.mode.as_str())}</span>
                {icon(DOWN)}
            </summary>
            <nav class="menu-panel" aria-label="Environments">
                <p class="menu-title">"Environments"</p>
                <ul>{entries}</ul>
            </nav>
        </details>
    }
    .into_any()
}

/// The choice of the theme, which this browser keeps (`page.js`).
#[component]
fn ThemeSwitch() -> impl IntoView {
    let choice = |(theme, words): (&'static str, &'static str)| {
        view! { <button type="button" data-theme-choice=theme aria-pressed="false">{words}</button> }
    };
    view! {
        <div class="theme needs-js" role="group" aria-label="Theme">
            {[("system", "System"), ("light", "Light"), ("dark", "Dark")].map(choice).collect_view()}
        </div>
        <hr class="needs-js"/>
    }
}

#[component]
fn AccountMenu(person: Person, section: Section) -> AnyView {
    let sees_server = person.may(Action::SeeServer);
    let email = person.email;
    let initial = email.chars().next().map(String::from);
    let server = (section == Section::Server).then_some("page");
    view! {
        <details class="menu account end" name="topbar-menu">
            <summary>
                <span class="visually-hidden">"Account: "</span>
                <span class="avatar" aria-hidden="true">{initial}</span>
                <span class="label"><bdi>{email.clone()}</bdi></span>
                {icon(DOWN)}
            </summary>
            <div class="menu-panel">
                <p class="menu-title">"Signed in as" <strong><bdi>{email}</bdi></strong></p>
                <hr/>
                {sees_server.then(|| view! { <a class="menu-item" href=SERVER aria-current=server>"Server"</a> })}
                <ThemeSwitch/>
                <form method="post" action=SIGN_OUT>
                    <button class="menu-item" type="submit">"Sign out"</button>
                </form>
            </div>
        </details>
    }
    .into_any()
}
