//! What reached the disk: decided by rule, by chance, or in every way there is, one after the other.

use crate::op::Sectors;

/// Decides for each sector, length and name.
pub enum Luck {
    Old,
    New,
    Mixed(u64),
    Each(Way),
}

/// One way through all decisions.
#[derive(Default)]
pub struct Way {
    /// What was decided, of how many choices.
    turns: Vec<(usize, usize)>,
    at: usize,
}

impl Luck {
    pub fn new(sectors: Sectors) -> Self {
        match sectors {
            Sectors::Old => Self::Old,
            Sectors::New => Self::New,
            Sectors::Mixed(seed) => Self::Mixed(seed),
        }
    }

    /// One of `of` choices, the oldest first.
    pub fn pick(&mut self, of: usize) -> usize {
        match self {
            _ if of <= 1 => 0,
            Self::Old => 0,
            Self::New => of - 1,
            Self::Mixed(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut mixed = *state;
                mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                ((mixed ^ (mixed >> 31)) % of as u64) as usize
            }
            Self::Each(way) => way.pick(of),
        }
    }
}

impl Way {
    fn pick(&mut self, of: usize) -> usize {
        if self.at == self.turns.len() {
            self.turns.push((0, of));
        }
        let (turn, known) = self.turns[self.at];
        assert_eq!(known, of, "the same way leads to the same choices");
        self.at += 1;
        turn
    }

    /// How many decisions there were on the way.
    pub fn decisions(&self) -> usize {
        self.at
    }

    /// Takes the next way; there is none when all were taken.
    pub fn turn(&mut self) -> bool {
        self.turns.truncate(self.at);
        self.at = 0;
        while let Some((turn, of)) = self.turns.pop() {
            if turn + 1 < of {
                self.turns.push((turn + 1, of));
                return true;
            }
        }
        false
    }
}

#[test]
fn every_way_is_taken_once() {
    let mut luck = Luck::Each(Way::default());
    let mut ways = Vec::new();
    loop {
        let first = luck.pick(3);
        // The second decision is there on one way only.
        ways.push((first, if first == 1 { luck.pick(2) } else { luck.pick(1) }));
        let Luck::Each(way) = &mut luck else { unreachable!() };
        if !way.turn() {
            break;
        }
    }
    assert_eq!(ways, [(0, 0), (1, 0), (1, 1), (2, 0)]);
}
