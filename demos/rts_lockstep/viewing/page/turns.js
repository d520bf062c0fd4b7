// When which turn is on the screen. Turns come when the network brings them; they are shown at their own pace.
//
// A turn takes as long to show as it took to play (`turn_ms`, which the game changes as it goes). If the next one is
// late, time stands still at the end of the last. If it was early it waits, and the time that it waited is the slack
// that the next late one uses up. Slack that nobody needed for a while is given back by playing a little faster, and a
// real backlog is skipped: what is drawn follows at its own speed (world.js), so neither ever makes a unit jump.

const BACKLOG_TURNS_MAX = 2;
// Nobody shows turns in a tab that sleeps; so many are kept for when it wakes.
const QUEUE_TURNS_MAX = 32;
const SLACK_TURNS = 16; // how long slack must have been unused
const SLACK_MS_MIN = 30;
const FASTER = 1.05;
// A snapshot that is hardly newer than what is shown (a healed copy, a short absence) is walked to, not cut to.
const FOLLOWS_TURNS_MAX = 3;

export class Playback {
  constructor() {
    this.queue = [];
    this.turn = null; // the one that is being shown
    this.elapsed = 0; // milliseconds of it
    this.slack = [];
    this.standing = 0; // milliseconds for which the next turn was waited for, in all
  }

  push(turn, now) {
    turn.received = now;
    turn.duration = Math.max(1, turn.turn_ms / (turn.replay?.speed || 1));
    const last = this.queue.at(-1) ?? this.turn;
    const later = last ? turn.turn - last.turn : Infinity;
    if (later >= 0 && later <= FOLLOWS_TURNS_MAX) turn.cut = false;
    if (turn.cut) this.queue.length = 0;
    this.queue.push(turn);
    while (this.queue.length > QUEUE_TURNS_MAX) {
      this.queue.shift();
      this.queue[0].cut = true; // nothing leads to it any more
    }
  }

  get fraction() {
    return this.turn ? Math.min(1, this.elapsed / this.turn.duration) : 0;
  }

  get rate() {
    return this.slack.length === SLACK_TURNS && Math.min(...this.slack) > SLACK_MS_MIN ? FASTER : 1;
  }

  // Let `milliseconds` go by; the turns that began meanwhile, oldest first.
  advance(milliseconds, now) {
    const began = [];
    const begin = () => {
      this.turn = this.queue.shift();
      began.push(this.turn);
      this.slack.push(now - this.turn.received);
      if (this.slack.length > SLACK_TURNS) this.slack.shift();
    };
    if (!this.turn) {
      if (!this.queue.length) return began;
      begin();
    } else {
      this.elapsed += milliseconds * this.rate;
    }
    while (this.queue.length && (this.queue[0].cut || this.elapsed >= this.turn.duration)) {
      this.elapsed = this.queue[0].cut ? 0 : this.elapsed - this.turn.duration;
      begin();
    }
    while (this.queue.length > BACKLOG_TURNS_MAX) {
      this.elapsed = 0;
      begin();
    }
    if (this.elapsed > this.turn.duration) {
      this.standing += this.elapsed - this.turn.duration;
      this.elapsed = this.turn.duration;
    }
    return began;
  }
}
