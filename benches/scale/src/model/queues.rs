//! Requests that go through stations, one event after the other.
//!
//! A station has some places; whoever comes first is served first, for a time that it brings along. Where a stage needs several
//! stations at once it begins when all have a place. Clients have a window of requests: the next one is sent when an
//! earlier one is answered.
//!
//! Invariant: events are taken in the order of their times, and of their numbers where times are equal, so a model comes out
//! the same each time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Times as whole picoseconds, which order totally.
type Time = u64;

fn time(seconds: f64) -> Time {
    (seconds * 1e12).round() as Time
}

/// Names a station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Station(usize);

/// All stations.
#[derive(Debug, Default)]
pub struct Stations {
    /// When each place is free again, the earliest first.
    free: Vec<BinaryHeap<Reverse<Time>>>,
}

impl Stations {
    /// One with so many places.
    pub fn add(&mut self, places: usize) -> Station {
        self.free.push((0..places).map(|_| Reverse(0)).collect());
        Station(self.free.len() - 1)
    }

    /// Serves in several stations at once, and says when it is over.
    fn serve(&mut self, at: &[Station], from: Time, takes: Time) -> Time {
        let begin = at.iter().map(|station| self.free[station.0].peek().map_or(0, |free| free.0)).fold(from, Time::max);
        for station in at {
            let places = &mut self.free[station.0];
            places.pop();
            places.push(Reverse(begin + takes));
        }
        begin + takes
    }
}

/// A step of a request.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Where; several are needed at once.
    pub at: Vec<Station>,
    /// Seconds there.
    pub takes_s: f64,
    /// Seconds until the next step begins, in nobody's way.
    pub then_s: f64,
}

/// The requests of one client, in order: the steps of each are made when it is sent.
pub struct Client<'a> {
    /// How many.
    pub requests: u64,
    /// How many are under way at once.
    pub window: u64,
    /// The steps of one.
    pub stages: Box<dyn Fn(u64) -> Vec<Stage> + 'a>,
}

struct Moving {
    client: usize,
    stages: Vec<Stage>,
    next: usize,
}

/// When the last request of all clients is answered, in seconds.
pub fn run(stations: &mut Stations, clients: &[Client<'_>]) -> f64 {
    let mut events: BinaryHeap<Reverse<(Time, usize)>> = BinaryHeap::new();
    let mut moving: Vec<Moving> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut sent = vec![0u64; clients.len()];
    let mut last = 0;
    let mut send = |client: usize, at: Time, moving: &mut Vec<Moving>, free: &mut Vec<usize>| {
        let this = &clients[client];
        (sent[client] < this.requests).then(|| {
            let request = Moving { client, stages: (this.stages)(sent[client]), next: 0 };
            sent[client] += 1;
            let place = match free.pop() {
                Some(place) => {
                    moving[place] = request;
                    place
                }
                None => {
                    moving.push(request);
                    moving.len() - 1
                }
            };
            Reverse((at, place))
        })
    };
    for turn in 0..clients.iter().map(|client| client.window).max().unwrap_or(0) {
        for (client, this) in clients.iter().enumerate() {
            if turn < this.window {
                events.extend(send(client, 0, &mut moving, &mut free));
            }
        }
    }
    while let Some(Reverse((now, place))) = events.pop() {
        let request = &mut moving[place];
        match request.stages.get(request.next) {
            Some(stage) => {
                let end = stations.serve(&stage.at, now, time(stage.takes_s)) + time(stage.then_s);
                request.next += 1;
                events.push(Reverse((end, place)));
            }
            None => {
                let client = request.client;
                last = last.max(now);
                free.push(place);
                events.extend(send(client, now, &mut moving, &mut free));
            }
        }
    }
    last as f64 / 1e12
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client<'a>(requests: u64, window: u64, stages: impl Fn(u64) -> Vec<Stage> + 'a) -> Client<'a> {
        Client { requests, window, stages: Box::new(stages) }
    }

    #[test]
    fn one_station_does_one_thing_after_the_other() {
        let mut stations = Stations::default();
        let wire = stations.add(1);
        let stage = move |_| vec![Stage { at: vec![wire], takes_s: 1.0, then_s: 0.5 }];
        assert_eq!(run(&mut stations, &[client(4, 1, stage)]), 6.0);
        let mut stations = Stations::default();
        let wire = stations.add(1);
        let stage = move |_| vec![Stage { at: vec![wire], takes_s: 1.0, then_s: 0.5 }];
        assert_eq!(run(&mut stations, &[client(4, 4, stage), client(4, 4, stage)]), 8.5, "the pauses overlap");
    }

    #[test]
    fn a_pipeline_goes_at_the_pace_of_its_slowest_station() {
        let mut stations = Stations::default();
        let (fast, slow) = (stations.add(1), stations.add(1));
        let stages = move |_| {
            let stage = |at, takes_s| Stage { at: vec![at], takes_s, then_s: 0.0 };
            vec![stage(fast, 1.0), stage(slow, 3.0)]
        };
        assert_eq!(run(&mut stations, &[client(10, 10, stages)]), 31.0);
    }

    #[test]
    fn a_stage_that_needs_two_stations_waits_for_both() {
        let mut stations = Stations::default();
        let (cores, own) = (stations.add(2), stations.add(1));
        let stage = move |_| vec![Stage { at: vec![own, cores], takes_s: 1.0, then_s: 0.0 }];
        assert_eq!(run(&mut stations, &[client(3, 3, stage)]), 3.0, "two cores do not help one thread");
    }
}
