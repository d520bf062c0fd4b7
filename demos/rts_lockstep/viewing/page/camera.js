// Where the player looks: an isometric projection of fixed-point positions, 2:1, with zoom and bounds.
//
// World positions are sub-tile units; the screen is CSS pixels. At zoom 1 a tile is 64 x 32 pixels. The projection is
// linear, so hot loops take its four numbers (`ax`, `ay`, `ox`, `oy`) and do the sums themselves.

export const TILE_WIDTH = 64;
export const TILE_HEIGHT = 32;
export const ZOOM_MIN = 0.25;
export const ZOOM_MAX = 2.5;

export class Camera {
  constructor(size, sub) {
    this.size = size;
    this.sub = sub;
    this.x = this.y = (size * sub) / 2;
    this.zoom = 1;
    this.resize(1, 1);
  }

  resize(width, height) {
    this.width = width;
    this.height = height;
    this.#update();
  }

  // The world's position (x, y) is at pixel ((x - y) * ax + ox, (x + y) * ay + oy).
  #update() {
    const end = this.size * this.sub;
    this.x = Math.min(end, Math.max(0, this.x));
    this.y = Math.min(end, Math.max(0, this.y));
    this.ax = ((TILE_WIDTH / 2) * this.zoom) / this.sub;
    this.ay = ((TILE_HEIGHT / 2) * this.zoom) / this.sub;
    this.ox = this.width / 2 - (this.x - this.y) * this.ax;
    this.oy = this.height / 2 - (this.x + this.y) * this.ay;
  }

  screen(x, y) {
    return [(x - y) * this.ax + this.ox, (x + y) * this.ay + this.oy];
  }

  world(screenX, screenY) {
    const difference = (screenX - this.ox) / this.ax;
    const sum = (screenY - this.oy) / this.ay;
    return [(sum + difference) / 2, (sum - difference) / 2];
  }

  look(x, y) {
    this.x = x;
    this.y = y;
    this.#update();
  }

  pan(pixelsX, pixelsY) {
    const difference = pixelsX / this.ax;
    const sum = pixelsY / this.ay;
    this.look(this.x + (sum + difference) / 2, this.y + (sum - difference) / 2);
  }

  // Zoom by `factor`; what is under the pixel (screenX, screenY) stays there, unless the map's edge is nearer.
  zoomAt(factor, screenX, screenY) {
    const [x, y] = this.world(screenX, screenY);
    this.zoom = Math.min(ZOOM_MAX, Math.max(ZOOM_MIN, this.zoom * factor));
    this.#update();
    const [nowX, nowY] = this.world(screenX, screenY);
    this.look(this.x + x - nowX, this.y + y - nowY);
  }

  // A number that changes whenever the picture of the ground does.
  get key() {
    return `${this.ox},${this.oy},${this.zoom},${this.width},${this.height}`;
  }
}
