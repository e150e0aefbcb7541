//! A history with a picture of the disk before and after every seam call, and what each may have left.

use crate::op::{Crash, Op, Sectors, Setup};
use crate::picture::Picture;
use crate::stage::{Moment, POLICY, Stage};
use crate::tree::Tree;
use crate::view;

/// The moments of a history, and the pictures taken between them.
pub struct Film {
    pub setup: Setup,
    pub moments: Vec<Moment>,
    /// Each with the number of its moment.
    pub pictures: Vec<(usize, Picture)>,
}

impl Film {
    /// Plays a history; the steps marked with `true` are filmed, and so is the making of the store if it is asked for.
    pub fn shoot(setup: Setup, birth: bool, ops: &[(bool, Op)]) -> Self {
        let mut stage = Stage::new(setup);
        let mut film = Self { setup, moments: Vec::new(), pictures: Vec::new() };
        film.step(&mut stage, birth, |stage| stage.open().unwrap());
        film.step(&mut stage, birth, |stage| stage.create_topic(0, 1));
        film.step(&mut stage, birth, |stage| stage.create_topic(1, setup.queues));
        film.step(&mut stage, birth, |stage| stage.change_group(0, POLICY));
        film.step(&mut stage, birth, |stage| stage.change_group(1, POLICY));
        for (filmed, op) in ops {
            film.step(&mut stage, *filmed, |stage| stage.perform(op).map_err(|why| format!("{op:?}: {why}")).unwrap());
        }
        film
    }

    fn step(&mut self, stage: &mut Stage, filmed: bool, act: impl FnOnce(&mut Stage)) {
        let before = stage.oracle.clone();
        if filmed {
            stage.recorder.film();
        }
        act(stage);
        let pictures = stage.recorder.end_film();
        let at = self.moments.len();
        self.pictures.extend(pictures.into_iter().map(|(_, picture)| (at, picture)));
        if filmed {
            self.pictures.push((at, stage.recorder.picture()));
        }
        self.moments.push(Moment { before, after: stage.oracle.clone(), now: stage.now });
    }

    /// Crashes within that step, and films the recovery, as a step, and what it finds due, as another one. The store
    /// goes on from there.
    ///
    /// # Errors
    /// What the crash left does not recover as it should.
    pub fn recovery(&self, step: usize, picture: &Picture, sectors: Sectors) -> Result<(Self, Stage), String> {
        let mut stage = Stage::new(self.setup);
        stage.filming = true;
        let moment = self.moments[step].clone();
        stage.crash_at(&moment, picture, Crash::PowerCut(sectors))?;
        let pictures = stage.recorder.end_film();
        let (before, now) = stage.recovered.take().ok_or("no recovery")?;
        let reborn = Moment { before, after: stage.oracle.clone(), now };
        Ok((Self { setup: self.setup, moments: vec![moment, reborn], pictures }, stage))
    }

    /// Opens what a crash within that step left; it must be what the store was before or after the step.
    ///
    /// # Errors
    /// It cannot be opened, or is neither.
    pub fn recovers(&self, desk: &Stage, step: usize, tree: &Tree, crash: Crash) -> Result<(), String> {
        let Moment { before, after, now } = &self.moments[step];
        let dir = tree.plant();
        let store = desk.options().open(dir.path()).map_err(|error| format!("cannot open: {error}"))?;
        let sight = view::look(&store)?;
        before.clone().crashed(Some(after), crash, *now, &sight, *now)
    }
}
