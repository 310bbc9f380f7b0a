//! What follows from what happened: the watch, questions, the table, answers to calls that wait.

use std::collections::BTreeSet;
use std::sync::Arc;

use meshproof_sys::clock::Nanos;
use meshproof_wire::mesh_api::{Answer, Operation, Subscribe};

use super::super::lists::List;
use super::super::way::{Place, Way};
use super::super::{Event, NoAddress, Target};
use super::{Discovery, For, Output, Route, Subscribed, Waiting, ok};
use crate::routing::{Rule, Table};

/// How the wait for providers ends.
enum Found {
    NotYet,
    Answer(Answer),
    Refuse(String),
}

impl Discovery {
    /// Draws the conclusions of what happened and of the time.
    pub fn advance(&mut self, now: Nanos) {
        for (service, list) in &mut self.lists {
            self.is_dirty |= list.lapse(now);
            if self.watched.contains(service) && list.asks(now) {
                self.outputs.push_back(Output::Ask(service.clone()));
            }
        }
        self.watch();
        let targets = self.subscriptions.values().flatten();
        let targets = targets.filter_map(|one| one.target.as_ref());
        let used: BTreeSet<&str> = targets
            .chain(self.settings.routes.iter().flat_map(|route| &route.targets))
            .filter_map(Target::name)
            .collect();
        self.names.used(&used);
        let asks = self.names.asks(now);
        self.outputs.extend(asks.into_iter().map(Output::Resolve));
        let mut center = std::mem::take(&mut self.center);
        self.outputs
            .extend(center.next(self.wanted(), now).map(Output::Say));
        self.center = center;
        // Before the answers: an app that was told of a provider may call at once.
        self.tabulate();
        self.answer_waiting(now);
        // A subscription that was refused is in the table no more.
        self.tabulate();
        self.watch();
    }

    fn watch(&mut self) {
        let asks_center = |one: &Subscribed| !one.asked.vip_only;
        let watched: BTreeSet<String> = self
            .subscriptions
            .iter()
            .filter(|(_, same)| self.settings.has_config_center && same.iter().any(asks_center))
            .map(|(service, _)| service.clone())
            .collect();
        if watched != self.watched {
            self.watched.clone_from(&watched);
            self.outputs.push_back(Output::Watch(watched));
        }
    }

    fn tabulate(&mut self) {
        if !std::mem::take(&mut self.is_dirty) {
            return;
        }
        let services = self.subscriptions.iter().map(|(service, same)| {
            let way = self.way(service, same);
            (service.clone(), way.service())
        });
        let services = services.collect();
        let rules: Vec<Rule> = self
            .settings
            .routes
            .iter()
            .map(|route| Rule {
                service: route.service.clone(),
                class: route.class.clone(),
                target: self.route_way(route).service(),
            })
            .collect();
        if self.table.generation > 0 && self.table.services == services && self.table.rules == rules
        {
            return;
        }
        let changed: Vec<Event> = self
            .subscriptions
            .keys()
            .filter_map(|service| {
                let new = services.get(service)?;
                let is_known = self.table.services.get(service) == Some(new);
                (!is_known).then(|| Event::Providers {
                    service: service.clone(),
                    addresses: new.endpoints.iter().map(|one| one.address).collect(),
                    downgraded: new.downgraded,
                })
            })
            .collect();
        changed.into_iter().for_each(|event| self.tell(event));
        self.table = Table {
            generation: self.table.generation + 1,
            services,
            rules,
        };
        self.outputs
            .push_back(Output::Table(Arc::new(self.table.clone())));
    }

    /// Of several subscriptions to one service the last one with a target decides: calls carry
    /// nothing that would tell them apart.
    fn way(&self, service: &str, same: &[Subscribed]) -> Way {
        let last = same.iter().rev().find(|one| one.target.is_some());
        self.way_by(
            service,
            last.and_then(|one| one.target.as_ref()),
            last.map(|one| &one.asked),
        )
    }

    fn way_by(&self, service: &str, target: Option<&Target>, asked: Option<&Subscribe>) -> Way {
        let list = || {
            let providers = self
                .lists
                .get(service)
                .into_iter()
                .flat_map(List::providers);
            providers.filter_map(Place::of_provider).collect()
        };
        let Some(target) = target else {
            return Way::new(list(), None, self.bugs);
        };
        // A name says nothing of who stands behind it; the list may.
        let vip = || {
            let known: Vec<Place> = list();
            let mut places = Place::of_target(target, &self.names);
            for place in &mut places {
                let address = place.endpoint.address;
                if known
                    .iter()
                    .any(|known| known.endpoint.address == address && known.is_old())
                {
                    place.endpoint.bolt = false;
                    place.endpoint.tr = true;
                }
            }
            places
        };
        let (is_only, is_enforced) =
            asked.map_or((false, false), |asked| (asked.vip_only, asked.vip_enforce));
        let mut places: Vec<Place> = if is_only || is_enforced {
            vip()
        } else {
            list()
        };
        if places.is_empty() && !is_only {
            places = if is_enforced { list() } else { vip() };
        }
        Way::new(places, target.timeout_ms, self.bugs)
    }

    fn route_way(&self, route: &Route) -> Way {
        let places = route
            .targets
            .iter()
            .flat_map(|target| Place::of_target(target, &self.names))
            .collect();
        let bounds = route.targets.iter().filter_map(|target| target.timeout_ms);
        let timeout_ms = bounds.chain(route.timeout_ms).min();
        Way::new(places, timeout_ms, self.bugs)
    }

    fn answer_waiting(&mut self, now: Nanos) {
        if self.waiting.is_empty() {
            return;
        }
        let is_standing = self.is_standing();
        for waiting in std::mem::take(&mut self.waiting) {
            let is_over = waiting.until <= now;
            let Waiting { call, what, until } = waiting;
            match what {
                For::Standing => {
                    if is_standing || is_over || self.is_center_up == Some(false) {
                        self.answer(call, ok());
                    } else {
                        let what = For::Standing;
                        self.waiting.push(Waiting { call, until, what });
                    }
                }
                For::Providers(asked, target) => {
                    match self.found(&asked, target.as_deref(), is_over) {
                        Found::NotYet => {
                            let what = For::Providers(asked, target);
                            self.waiting.push(Waiting { call, until, what });
                        }
                        Found::Answer(answer) => self.answer(call, answer),
                        Found::Refuse(why) => {
                            // The app gives up: it will not unsubscribe.
                            let same = self.subscriptions.get(&asked.service_name);
                            let place = same
                                .and_then(|same| same.iter().position(|one| one.asked == *asked));
                            if let Some(place) = place {
                                self.drop_subscription(&asked.service_name, place);
                            }
                            self.refuse(call, Operation::Subscribe, why);
                        }
                    }
                }
            }
        }
    }

    fn found(&self, asked: &Subscribe, target: Option<&Target>, is_over: bool) -> Found {
        let service = &asked.service_name;
        let answer = |way: &Way, error_message: String| {
            let asks_tr = asked.protocol_type.eq_ignore_ascii_case("tr");
            Found::Answer(Answer {
                success: true,
                error_message,
                service_name: Some(service.clone()),
                datas: Some(way.datas(asks_tr, self.bugs)),
            })
        };
        let route = self.settings.routes.iter().find(|route| {
            route.class.is_none() && route.service.as_ref().is_none_or(|named| named == service)
        });
        if let Some(route) = route {
            let way = self.route_way(route);
            let is_failed = |target: &Target| {
                let name = target.name();
                name.is_none_or(|name| self.names.failure(name).is_some())
            };
            return if !way.places.is_empty() {
                answer(&way, String::new())
            } else if is_over || route.targets.iter().all(is_failed) {
                answer(&way, format!("the route of `{service}` has no address"))
            } else {
                Found::NotYet
            };
        }
        let asks_center = self.settings.has_config_center && !asked.vip_only;
        if !asks_center && target.is_none() {
            return Found::Refuse(format!(
                "nobody knows where `{service}` is: there is no config center, no route names it \
                 and the app named no VIP; set `config_center`, add it under `outbound.routes`, \
                 or give `targetAppAddress`"
            ));
        }
        let list = self.lists.get(service);
        // What the config center would say is known, or will not be for a while.
        let is_listed = !asks_center || list.is_some_and(List::is_settled);
        let is_moot = is_listed
            || self.is_center_up == Some(false)
            || is_over
            || target.is_some() && list.is_some_and(List::is_answered);
        let way = self.way_by(service, target, Some(asked));
        let failure = target
            .and_then(Target::name)
            .and_then(|name| Some((name, self.names.failure(name)?)));
        if !way.places.is_empty() {
            // A list of an earlier life, or a VIP, waits for the config center's word.
            return if is_moot || asked.vip_enforce && failure.is_none() {
                answer(&way, String::new())
            } else {
                Found::NotYet
            };
        }
        match failure {
            Some((name, NoAddress::NoSuchName(why))) if is_moot => {
                return Found::Refuse(format!(
                    "VIP `{}` does not resolve: {why}; expected a name that the VIP name service \
                     knows, such as APP-pool.ZONE.alipay.net",
                    name.escape_debug()
                ));
            }
            Some((name, NoAddress::Trouble(why))) if is_over => {
                return answer(
                    &way,
                    format!("VIP `{}` is not resolved yet: {why}", name.escape_debug()),
                );
            }
            _ => {}
        }
        if is_listed && target.is_none() {
            return answer(&way, String::new());
        }
        if is_over {
            return answer(
                &way,
                format!(
                    "no provider of `{service}` is known yet; calls are passed on as soon as \
                     one is"
                ),
            );
        }
        Found::NotYet
    }

    /// When [`Discovery::advance`] is to be called, if nothing happens before.
    pub fn next_deadline(&self) -> Option<Nanos> {
        let watched = self.lists.iter();
        let watched = watched.filter(|(service, _)| self.watched.contains(*service));
        let lists = watched.filter_map(|(_, list)| list.next_deadline());
        let waiting = self.waiting.iter().map(|waiting| waiting.until);
        lists
            .chain(waiting)
            .chain(self.names.next_deadline())
            .chain(self.center.next_deadline(self.wanted()))
            .min()
    }
}
