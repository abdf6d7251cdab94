// Pictures, by WebGL 2. Each splat is skinned and projected in the vertex shader and blended over the background, the
// farthest first; key points and trails are drawn on top.
// The mathematics of dimo_ns/core/skinning.py and of dimo_ns/rasterize/projection.py. Cameras as there: `viewmat`
// world-to-camera, x right, y down, z forward, 16 numbers row by row; `intrinsics` fx, fy, cx, cy in pixels.

// Tables are textures as wide as every WebGL 2 takes them.
const SPLAT_TEXELS = 6;
const SPLATS_PER_ROW = 341;
const CARRIER_TEXELS = 4;
const CARRIERS_PER_ROW = 512;
const ORDERS_PER_ROW = 2048;

const HEAD = `#version 300 es
precision highp float;
precision highp int;
precision highp sampler2D;
`;

const CAMERA = `
uniform mat4 viewmat;
uniform vec4 intrinsics;
uniform vec2 size;

vec4 clip(vec2 pixel) {
  return vec4(2.0 * pixel.x / size.x - 1.0, 1.0 - 2.0 * pixel.y / size.y, 0.0, 1.0);
}

vec2 pixelOf(vec3 p) {
  return intrinsics.xy * p.xy / p.z + intrinsics.zw;
}
`;

const CORNER = `
vec2 corner() {
  return vec2(gl_VertexID & 1, gl_VertexID >> 1 & 1) * 2.0 - 1.0;
}
`;

const SPLAT = `${HEAD}${CAMERA}${CORNER}
uniform sampler2D splats, carriers;
uniform highp usampler2D order;
out vec2 reach; // from the mean, in standard deviations along the axes of the ellipse
flat out vec4 fill;

const float NEAR = 0.01, EPS2D = 0.3, MARGIN = 0.15;

vec4 splat(int i, int texel) {
  return texelFetch(splats, ivec2(i % ${SPLATS_PER_ROW} * ${SPLAT_TEXELS} + texel, i / ${SPLATS_PER_ROW}), 0);
}

vec4 carrier(int k, int texel) {
  return texelFetch(carriers, ivec2(k % ${CARRIERS_PER_ROW} * ${CARRIER_TEXELS} + texel, k / ${CARRIERS_PER_ROW}), 0);
}

vec4 multiply(vec4 a, vec4 b) { // quaternions, w x y z
  return vec4(a.x * b.x - dot(a.yzw, b.yzw), a.x * b.yzw + b.x * a.yzw + cross(a.yzw, b.yzw));
}

mat3 rotation(vec4 q) {
  float w = q.x, x = q.y, y = q.z, z = q.w;
  return mat3(
    1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z), 2.0 * (x * z - w * y),
    2.0 * (x * y - w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z + w * x),
    2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y)
  );
}

/** The mean in the world and the rotation of splat i, as its key points carry it. */
void skin(int i, vec3 home, out vec3 mean, out mat3 turned) {
  vec4 weights = splat(i, 4);
  ivec4 neighbours = ivec4(splat(i, 5));
  vec4 x = vec4(0.0), y = vec4(0.0), z = vec4(0.0), turn = vec4(0.0);
  vec4 nearest = carrier(neighbours[0], 3);
  for (int j = 0; j < 4; j++) {
    x += weights[j] * carrier(neighbours[j], 0);
    y += weights[j] * carrier(neighbours[j], 1);
    z += weights[j] * carrier(neighbours[j], 2);
    vec4 q = carrier(neighbours[j], 3);
    turn += (dot(q, nearest) < 0.0 ? -weights[j] : weights[j]) * q;
  }
  mean = vec3(dot(x, vec4(home, 1.0)), dot(y, vec4(home, 1.0)), dot(z, vec4(home, 1.0)));
  turned = rotation(multiply(normalize(turn), splat(i, 1)));
}

void main() {
  int rank = gl_VertexID >> 2;
  int i = int(texelFetch(order, ivec2(rank % ${ORDERS_PER_ROW}, rank / ${ORDERS_PER_ROW}), 0).r);
  vec4 home = splat(i, 0); // and opacity
  vec3 s = splat(i, 2).xyz, mean;
  mat3 R;
  skin(i, home.xyz, mean, R);

  vec3 p = (viewmat * vec4(mean, 1.0)).xyz;
  mat3 V = transpose(mat3(viewmat) * mat3(R[0] * s[0], R[1] * s[1], R[2] * s[2])); // V[k] is row k
  vec2 focal = intrinsics.xy;
  vec2 bound = MARGIN * size / focal;
  vec2 uv = clamp(p.xy / p.z, -intrinsics.zw / focal - bound, (size - intrinsics.zw) / focal + bound);
  vec3 a = focal.x / p.z * (V[0] - uv.x * V[2]);
  vec3 b = focal.y / p.z * (V[1] - uv.y * V[2]);
  float xx = dot(a, a) + EPS2D, xy = dot(a, b), yy = dot(b, b) + EPS2D; // the 2D covariance
  float determinant = xx * yy - xy * xy;
  float spread = 0.5 * (xx - yy);
  float first = 0.5 * (xx + yy) + sqrt(spread * spread + xy * xy); // its larger eigenvalue
  vec2 along = spread > 0.0 ? vec2(first - yy, xy) : vec2(xy, first - xx);
  along = dot(along, along) > 0.0 ? normalize(along) : vec2(1.0, 0.0);

  reach = corner() * sqrt(2.0 * log(max(255.0 * home.w, 1.0))); // to where alpha is 1/255
  vec2 pixel = pixelOf(p);
  vec2 turn = vec2(-along.y, along.x);
  vec2 rim = pixel + sqrt(first) * reach.x * along + sqrt(determinant / first) * reach.y * turn;
  gl_Position = p.z > NEAR && determinant > 0.0 ? clip(rim) : vec4(2.0, 2.0, 2.0, 1.0);
  fill = vec4(splat(i, 3).rgb, home.w);
}`;

const SPLAT_FILL = `${HEAD}
in vec2 reach;
flat in vec4 fill;
out vec4 result;

void main() {
  float alpha = min(0.999, fill.a * exp(-0.5 * dot(reach, reach)));
  if (alpha < 1.0 / 255.0) discard;
  result = vec4(fill.rgb * alpha, alpha);
}`;

const POINT = `${HEAD}${CAMERA}${CORNER}
uniform float radius;
in vec3 position;
in vec3 tint;
out vec2 place;
flat out vec4 fill;

void main() {
  vec3 p = (viewmat * vec4(position, 1.0)).xyz;
  place = corner() * (radius + 1.0);
  fill = vec4(tint, 1.0);
  gl_Position = p.z > 0.01 ? clip(pixelOf(p) + place) : vec4(2.0, 2.0, 2.0, 1.0);
}`;

const POINT_FILL = `${HEAD}
uniform float radius;
in vec2 place;
flat in vec4 fill;
out vec4 result;

void main() {
  float distance = length(place);
  float rim = smoothstep(radius - 1.5, radius - 0.5, distance);
  result = vec4(mix(fill.rgb, vec3(1.0), 0.8 * rim), clamp(radius + 0.5 - distance, 0.0, 1.0));
}`;

const SEGMENT = `${HEAD}${CAMERA}${CORNER}
uniform float radius;
uniform vec4 times; // now, reach, cycle in moments; segments per moment
in vec3 start;
in vec3 end;
in vec3 tint;
out float side;
flat out vec4 fill;

void main() {
  vec3 p = (viewmat * vec4(start, 1.0)).xyz, q = (viewmat * vec4(end, 1.0)).xyz;
  float age = times.x - float(gl_InstanceID / int(times.w)) - 1.0; // since the end of this segment
  if (age < -1.0) age += times.z; // a cycle's trail comes out of its end
  vec2 a = pixelOf(p), b = pixelOf(q);
  vec2 along = b - a;
  along = dot(along, along) > 0.0 ? normalize(along) : vec2(1.0, 0.0);
  side = corner().y * (radius + 1.0);
  fill = vec4(tint, clamp(1.0 - age / times.y, 0.0, 1.0));
  bool seen = p.z > 0.01 && q.z > 0.01 && age >= -1.0 && age < times.y;
  vec2 pixel = mix(a, age < 0.0 ? mix(a, b, 1.0 + age) : b, 0.5 * (corner().x + 1.0));
  gl_Position = seen ? clip(pixel + side * vec2(-along.y, along.x)) : vec4(2.0, 2.0, 2.0, 1.0);
}`;

const SEGMENT_FILL = `${HEAD}
uniform float radius;
in float side;
flat in vec4 fill;
out vec4 result;

void main() {
  result = vec4(fill.rgb, fill.a * clamp(radius + 0.5 - abs(side), 0.0, 1.0));
}`;

class Renderer {
  /** Raises an Error where the browser has no WebGL 2. */
  constructor(canvas, arrays) {
    const gl = canvas.getContext("webgl2", { alpha: false, antialias: false, depth: false });
    if (!gl) throw new Error("this browser has no WebGL 2, or WebGL 2 is switched off.");
    this.gl = gl;
    this.count = arrays.means.length / 3;
    this.keypoints = arrays.keypoints.length / 3;
    this.splat = program(gl, SPLAT, SPLAT_FILL);
    this.point = program(gl, POINT, POINT_FILL);
    this.segment = program(gl, SEGMENT, SEGMENT_FILL);

    const splats = splatTexels(arrays);
    this.splats = table(gl, SPLATS_PER_ROW * SPLAT_TEXELS, Math.ceil(this.count / SPLATS_PER_ROW), gl.RGBA32F);
    this.splats.write(gl.RGBA, gl.FLOAT, splats);
    const carrierRows = Math.ceil(this.keypoints / CARRIERS_PER_ROW);
    this.carriers = table(gl, CARRIERS_PER_ROW * CARRIER_TEXELS, carrierRows, gl.RGBA32F);
    this.order = table(gl, ORDERS_PER_ROW, Math.ceil(this.count / ORDERS_PER_ROW), gl.R32UI);

    this.quads = gl.createVertexArray();
    gl.bindVertexArray(this.quads);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, quadCorners(this.count), gl.STATIC_DRAW);
    this.points = this.overlay(this.point, ["position"]);
    this.segments = this.overlay(this.segment, ["start", "end"]);
  }

  overlay(owner, names) {
    const { gl } = this;
    const [places, tints] = [gl.createBuffer(), gl.createBuffer()];
    const array = gl.createVertexArray();
    layout(gl, owner, places, names, array);
    layout(gl, owner, tints, ["tint"], array);
    return { places, tints, array };
  }

  /** Draws one picture on the canvas. `carriers` are those of carriersOf, `order` is the sorter's, `background` three
   * numbers in [0, 1]. */
  draw(carriers, order, camera, background) {
    const { gl } = this;
    const { width, height } = camera;
    if (gl.canvas.width !== width) gl.canvas.width = width;
    if (gl.canvas.height !== height) gl.canvas.height = height;
    gl.viewport(0, 0, width, height);
    gl.clearColor(...background, 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    this.prepare(this.splat, carriers, order, camera);
    gl.drawElements(gl.TRIANGLES, this.count * 6, gl.UNSIGNED_INT, 0);
  }

  /** Hands the tables to a program that runs the splats' vertex shader. */
  prepare(owner, carriers, order, camera) {
    const { gl } = this;
    this.use(owner, camera);
    this.carriers.write(gl.RGBA, gl.FLOAT, carriers);
    this.order.write(gl.RED_INTEGER, gl.UNSIGNED_INT, order);
    ["splats", "carriers", "order"].forEach((name, unit) => {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, this[name].texture);
      gl.uniform1i(owner.uniforms[name], unit);
    });
    gl.activeTexture(gl.TEXTURE0);
    gl.bindVertexArray(this.quads);
  }

  /** Discs on the picture: `positions` and `tints` three numbers each, radius in pixels. */
  drawPoints(positions, tints, radius, camera) {
    const { gl } = this;
    this.begin(this.point, this.points, positions, tints, radius, camera);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, positions.length / 3);
  }

  /** Trails on the picture. `path` holds the places of all points, as many as there are `tints`, moment after moment.
   * What lies up to `reach` moments before `now` is drawn, and fades; `cycle`: after so many moments it begins again. */
  drawTrails(path, tints, { now, reach, cycle }, radius, camera) {
    const { gl } = this;
    const perMoment = tints.length / 3;
    const segments = path.length / 3 - perMoment;
    if (segments <= 0) return;
    const repeated = new Float32Array(segments * 3);
    for (let i = 0; i < repeated.length; i += tints.length) repeated.set(tints, i);
    this.begin(this.segment, this.segments, path, repeated, radius, camera);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.segments.places);
    gl.vertexAttribPointer(this.segment.attributes.end, 3, gl.FLOAT, false, 12, perMoment * 12);
    gl.uniform4f(this.segment.uniforms.times, now, reach, cycle, perMoment);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, segments);
  }

  begin(owner, { places, tints: tintBuffer, array }, positions, tints, radius, camera) {
    const { gl } = this;
    this.use(owner, camera);
    gl.uniform1f(owner.uniforms.radius, radius);
    gl.bindVertexArray(array);
    gl.bindBuffer(gl.ARRAY_BUFFER, places);
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array(positions), gl.STREAM_DRAW);
    gl.bindBuffer(gl.ARRAY_BUFFER, tintBuffer);
    gl.bufferData(gl.ARRAY_BUFFER, tints, gl.STREAM_DRAW);
    gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
  }

  use({ program, uniforms }, { viewmat, intrinsics, width, height }) {
    const { gl } = this;
    gl.useProgram(program);
    gl.uniformMatrix4fv(uniforms.viewmat, true, viewmat);
    gl.uniform4fv(uniforms.intrinsics, intrinsics);
    gl.uniform2f(uniforms.size, width, height);
  }

  /** The canvas's pixels, RGBA in bytes, the top row first; in the same task as what drew them. */
  pixels() {
    const { gl } = this;
    const { width, height } = gl.canvas;
    const upward = new Uint8Array(width * height * 4);
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, upward);
    const data = new Uint8Array(upward.length);
    const row = width * 4;
    for (let y = 0; y < height; y++) data.set(upward.subarray(y * row, (y + 1) * row), (height - 1 - y) * row);
    return { width, height, data };
  }

  /** What the vertex shader makes of the splats, in drawing order: of each its four corners, x and y in pixels. */
  corners(carriers, order, camera) {
    const { gl } = this;
    const buffer = gl.createBuffer();
    const numbers = new Float32Array(this.count * 16);
    this.kept ??= program(gl, SPLAT, SPLAT_FILL, ["gl_Position"]);
    this.prepare(this.kept, carriers, order, camera);
    gl.bindBufferBase(gl.TRANSFORM_FEEDBACK_BUFFER, 0, buffer);
    gl.bufferData(gl.TRANSFORM_FEEDBACK_BUFFER, numbers.byteLength, gl.STREAM_READ);
    gl.enable(gl.RASTERIZER_DISCARD);
    gl.beginTransformFeedback(gl.POINTS);
    gl.drawArrays(gl.POINTS, 0, this.count * 4);
    gl.endTransformFeedback();
    gl.disable(gl.RASTERIZER_DISCARD);
    gl.getBufferSubData(gl.TRANSFORM_FEEDBACK_BUFFER, 0, numbers);
    gl.deleteBuffer(buffer);
    return numbers
      .filter((_, i) => i % 4 < 2)
      .map((value, i) => (i % 2 ? ((1 - value) / 2) * camera.height : ((1 + value) / 2) * camera.width));
  }
}

/** Six texels of each splat: mean and opacity, quaternion, scales, colour, weights, neighbours. */
function splatTexels({ means, opacities, quats, log_scales, colors, weights, neighbours }) {
  const texels = new Float32Array(opacities.length * SPLAT_TEXELS * 4);
  const put = (array, channels, texel, f = (value) => value) => {
    for (let i = 0; i < array.length; i++) {
      texels[(Math.floor(i / channels) * SPLAT_TEXELS + texel) * 4 + (i % channels)] = f(array[i]);
    }
  };
  put(means, 3, 0);
  for (let i = 0; i < opacities.length; i++) texels[i * SPLAT_TEXELS * 4 + 3] = opacities[i];
  put(quats, 4, 1);
  put(log_scales, 3, 2, Math.exp);
  put(colors, 3, 3);
  put(weights, 4, 4);
  put(neighbours, 4, 5);
  return texels;
}

/** Two triangles each, for vertices of which four belong to a splat. */
function quadCorners(count) {
  const corners = new Uint32Array(count * 6);
  for (let i = 0; i < count; i++) corners.set([i * 4, i * 4 + 1, i * 4 + 2, i * 4 + 2, i * 4 + 1, i * 4 + 3], i * 6);
  return corners;
}

/** A texture for numbers, filled row by row. */
function table(gl, width, height, format) {
  const texture = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.texStorage2D(gl.TEXTURE_2D, 1, format, width, height);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  let padded = null;
  const write = (channels, type, numbers) => {
    padded ??= new numbers.constructor(width * height * (channels === gl.RGBA ? 4 : 1));
    padded.set(numbers);
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, width, height, channels, type, padded);
  };
  return { texture, write };
}

/** A linked program with the places of its uniforms and attributes; `written`: what transform feedback keeps. */
function program(gl, vertex, fragment, written = null) {
  const linked = gl.createProgram();
  for (const [kind, source] of [
    [gl.VERTEX_SHADER, vertex],
    [gl.FRAGMENT_SHADER, fragment],
  ]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(linked, shader);
  }
  if (written) gl.transformFeedbackVaryings(linked, written, gl.INTERLEAVED_ATTRIBS);
  gl.linkProgram(linked);
  if (!gl.getProgramParameter(linked, gl.LINK_STATUS)) {
    const logs = gl.getAttachedShaders(linked).map((shader) => gl.getShaderInfoLog(shader));
    throw new Error([gl.getProgramInfoLog(linked), ...logs].join(" ").trim());
  }
  const uniforms = {};
  const attributes = {};
  for (let i = 0; i < gl.getProgramParameter(linked, gl.ACTIVE_UNIFORMS); i++) {
    const { name } = gl.getActiveUniform(linked, i);
    uniforms[name] = gl.getUniformLocation(linked, name);
  }
  for (let i = 0; i < gl.getProgramParameter(linked, gl.ACTIVE_ATTRIBUTES); i++) {
    const { name } = gl.getActiveAttrib(linked, i);
    attributes[name] = gl.getAttribLocation(linked, name);
  }
  return { program: linked, uniforms, attributes };
}

/** Lets a program read three numbers per instance of a buffer, for each of these attributes; adds to `array`. */
function layout(gl, { attributes }, buffer, names, array) {
  gl.bindVertexArray(array);
  gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
  for (const name of names) {
    gl.enableVertexAttribArray(attributes[name]);
    gl.vertexAttribPointer(attributes[name], 3, gl.FLOAT, false, 12, 0);
    gl.vertexAttribDivisor(attributes[name], 1);
  }
  gl.bindVertexArray(null);
}
