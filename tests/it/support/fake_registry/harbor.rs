//! Harbor's ways on top of a registry's (harbor v2.11, src/server/middleware/v2auth and
//! src/server/v2.0/handler): a catalog for administrators alone, who are asked for Basic; Bearer
//! tokens for repositories; and the two listings of its API, which tell a stranger what is public,
//! and take whoever shows a wrong password for one.

use serde_json::{Value, json};

use super::access::is_user;
use super::reply::Reply;
use super::request::Request;
use super::store::Store;

/// The most that Harbor puts on one page.
const LONGEST_PAGE: usize = 100;

#[derive(Default)]
pub struct Harbor {
    accounts: Vec<Account>,
    /// Projects that everybody may see.
    pub public: Vec<&'static str>,
    /// Robots are shown the public projects alone, as by v2.0; their own can still be listed by name.
    pub hides_projects_from_robots: bool,
    /// A proxy lets no `Link` through.
    pub without_links: bool,
    /// A proxy lets no `X-Total-Count` through.
    pub without_totals: bool,
}

struct Account {
    user: (String, String),
    sees: Sight,
}

enum Sight {
    Everything,
    Projects(Vec<String>),
    /// It may pull, but list nothing.
    Nothing,
}

impl Harbor {
    pub fn add_administrator(&mut self, user: &str, password: &str) {
        self.add(user, password, Sight::Everything);
    }

    /// A project's robot that may list and pull its repositories.
    pub fn add_robot(&mut self, user: &str, password: &str, projects: &[&str]) {
        let projects = projects.iter().map(|project| (*project).to_owned());
        self.add(user, password, Sight::Projects(projects.collect()));
    }

    /// A robot with the permission to pull, and no other.
    pub fn add_puller(&mut self, user: &str, password: &str) {
        self.add(user, password, Sight::Nothing);
    }

    /// The account expires: whoever shows its password is a stranger from now on.
    pub fn expire(&mut self, user: &str) {
        let before = self.accounts.len();
        self.accounts.retain(|account| account.user.0 != user);
        assert!(self.accounts.len() < before, "{user} was never added");
    }

    fn add(&mut self, user: &str, password: &str, sees: Sight) {
        self.accounts.push(Account {
            user: (user.to_owned(), password.to_owned()),
            sees,
        });
    }

    pub(super) fn knows(&self, request: &Request) -> bool {
        self.account(request).is_some()
    }

    /// Whether the catalog is open to whoever asks.
    pub(super) fn opens_catalog(&self, request: &Request) -> bool {
        matches!(
            self.account(request),
            Some(Account {
                sees: Sight::Everything,
                ..
            })
        )
    }

    /// The API's answer, if that is what was asked.
    pub(super) fn answer(&self, request: &Request, store: &Store) -> Option<Reply> {
        let path = request.path().strip_prefix("/api/v2.0/projects")?;
        if request.method != "GET" {
            return None;
        }
        match path.strip_prefix('/') {
            None if path.is_empty() => Some(self.projects(request, store)),
            Some(rest) => {
                Some(self.repositories(request, store, rest.strip_suffix("/repositories")?))
            }
            None => None,
        }
    }

    fn projects(&self, request: &Request, store: &Store) -> Reply {
        let is_listed = |project: &&str| match self.account(request).map(|account| &account.sees) {
            Some(Sight::Everything) => true,
            Some(Sight::Projects(own)) if !self.hides_projects_from_robots => {
                self.public.contains(project) || own.iter().any(|one| one == project)
            }
            _ => self.public.contains(project),
        };
        let mut projects: Vec<&str> = store.names().into_iter().map(project_of).collect();
        projects.dedup();
        projects.retain(is_listed);
        self.paged(
            request,
            &projects,
            |name| json!({ "name": name, "repo_count": 1 }),
        )
    }

    fn repositories(&self, request: &Request, store: &Store, project: &str) -> Reply {
        let account = self.account(request);
        let is_open = match account.map(|account| &account.sees) {
            Some(Sight::Everything) => true,
            Some(Sight::Projects(own)) => own.iter().any(|one| one == project),
            Some(Sight::Nothing) | None => false,
        };
        let mut names = store.names();
        names.retain(|name| project_of(name) == project);
        if names.is_empty() || (!is_open && !self.public.contains(&project)) {
            return match account {
                Some(_) => Reply::error(403, "FORBIDDEN", "forbidden"),
                None => Reply::error(401, "UNAUTHORIZED", "unauthorized"),
            };
        }
        // The newest first, if they were pushed in alphabetical order.
        names.reverse();
        self.paged(
            request,
            &names,
            |name| json!({ "name": name, "artifact_count": 1 }),
        )
    }

    fn paged(&self, request: &Request, names: &[&str], entry: impl Fn(&&str) -> Value) -> Reply {
        let number = |name: &str| {
            request
                .query(name)
                .first()
                .and_then(|text| text.parse::<usize>().ok())
        };
        let (page, size) = (
            number("page").unwrap_or(1),
            number("page_size").unwrap_or(10),
        );
        if page == 0 || !(1..=LONGEST_PAGE).contains(&size) {
            return Reply::error(
                422,
                "UNPROCESSABLE_ENTITY",
                "page_size in query should be at most 100",
            );
        }
        let start = ((page - 1) * size).min(names.len());
        let end = (page * size).min(names.len());
        let mut reply = Reply::json(200, &names[start..end].iter().map(entry).collect());
        if !self.without_totals {
            reply = reply.header("X-Total-Count", &names.len().to_string());
        }
        let mut links = Vec::new();
        let mut link = |page: usize, relation: &str| {
            links.push(format!(
                "<{}?page={page}&page_size={size}>; rel=\"{relation}\"",
                request.path()
            ));
        };
        if page > 1 {
            link(page - 1, "prev");
        }
        if end < names.len() {
            link(page + 1, "next");
        }
        match links.is_empty() || self.without_links {
            true => reply,
            false => reply.header("Link", &links.join(" , ")),
        }
    }

    fn account(&self, request: &Request) -> Option<&Account> {
        self.accounts
            .iter()
            .find(|account| is_user(request, &account.user))
    }
}

fn project_of(repository: &str) -> &str {
    repository.split('/').next().unwrap_or_default()
}
