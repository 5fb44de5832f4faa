// The page of the control API: reads /openapi.json, shows it, and calls what is asked for.
//
// Everything is made of text nodes: nothing that comes from the description or from an answer is ever taken as HTML.

/** An element with attributes and children; children are elements or text. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Text in which backticks mark code. */
function prose(text) {
  return text.split("`").map((part, index) => index % 2 ? make("code", {}, part) : part);
}

/** A path that may break after its slashes. */
function breakable(path) {
  return path.split(/(?<=\/)/).flatMap((part, index) => index ? [document.createElement("wbr"), part] : [part]);
}

const byId = (id) => document.getElementById(id);
let components = {};

function resolved(schema) {
  if (!schema?.$ref) return schema ?? {};
  return components.schemas?.[schema.$ref.split("/").pop()] ?? {};
}

/** A type in words: "string or null", "list of Viewer". */
function typeOf(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  const union = schema.anyOf ?? schema.oneOf;
  if (union) return union.map(typeOf).join(" or ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(", ");
  if (schema.type === "array") return `list of ${typeOf(schema.items ?? {})}`;
  return schema.type ?? "anything";
}

/** Its bounds in words. */
function boundsOf(schema) {
  const words = [];
  for (const each of [schema, ...(schema.anyOf ?? [])]) {
    if (each.minimum !== undefined) words.push(`from ${each.minimum}`);
    if (each.exclusiveMinimum !== undefined) words.push(`above ${each.exclusiveMinimum}`);
    if (each.maximum !== undefined) words.push(`to ${each.maximum}`);
    if (each.exclusiveMaximum !== undefined) words.push(`below ${each.exclusiveMaximum}`);
    if (each.maxLength !== undefined) words.push(`up to ${each.maxLength} characters`);
    if (each.maxItems !== undefined) words.push(`up to ${each.maxItems}`);
    if (each.pattern) words.push(each.pattern);
  }
  return words.join(", ");
}

function fieldsTable(schema) {
  const model = resolved(schema);
  if (!model.properties) return make("p", {}, make("code", {}, typeOf(schema)));
  const rows = Object.entries(model.properties).map(([name, field]) => {
    const needed = model.required?.includes(name) ? "" : field.default === undefined ? "optional" :
      `default ${JSON.stringify(field.default)}`;
    const notes = [field.description, boundsOf(field), needed].filter(Boolean).join("; ");
    return make("tr", {}, make("td", {}, make("code", {}, name)), make("td", {}, make("code", {}, typeOf(field))),
      make("td", {}, ...prose(notes)));
  });
  const head = make("tr", {}, make("th", {}, "field"), make("th", {}, "type"), make("th", {}, "what"));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
}

/** A body to begin with. */
function exampleOf(schema, depth = 0) {
  const model = resolved(schema);
  if (model.default !== undefined) return model.default;
  if (model.const !== undefined) return model.const;
  if (model.enum) return model.enum[0];
  const union = model.anyOf ?? model.oneOf;
  if (union) return union.some((each) => each.type === "null") ? null : exampleOf(union[0], depth + 1);
  if (model.properties && depth < 4) {
    return Object.fromEntries(Object.entries(model.properties)
      .filter(([name]) => model.required?.includes(name) || depth === 0)
      .map(([name, field]) => [name, exampleOf(field, depth + 1)]));
  }
  if (model.type === "array") return model.minItems ? [exampleOf(model.items, depth + 1)] : [];
  if (model.type === "integer" || model.type === "number") return model.minimum ?? 1;
  if (model.type === "boolean") return true;
  return model.type === "string" ? "" : null;
}

function answersTable(responses) {
  const rows = Object.entries(responses).map(([status, response]) => {
    const kinds = Object.entries(response.content ?? {}).map(([kind, content]) =>
      kind === "application/json" ? typeOf(content.schema ?? {}) : kind);
    return make("tr", {}, make("td", {}, make("code", {}, status)), make("td", {}, make("code", {}, kinds.join(", "))),
      make("td", {}, response.description ?? ""));
  });
  return make("table", {}, make("tbody", {}, ...rows));
}

async function show(answer, place) {
  const kind = answer.headers.get("content-type") ?? "";
  const line = `${answer.status} ${answer.statusText}   request ${answer.headers.get("x-request-id") ?? "?"}`;
  place.replaceChildren(make("p", { class: answer.ok ? "quiet" : "wrong" }, line));
  if (kind.startsWith("image/")) {
    const url = URL.createObjectURL(await answer.blob());
    const picture = make("img", { class: "picture", alt: "the session's screen", src: url });
    picture.addEventListener("load", () => URL.revokeObjectURL(url), { once: true });
    place.append(picture);
    return;
  }
  const text = make("pre");
  place.append(text);
  if (kind.startsWith("text/event-stream")) {
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) text.append(part.value);
    return;
  }
  const body = await answer.text();
  try {
    text.textContent = JSON.stringify(JSON.parse(body), null, 2);
  } catch {
    text.textContent = body;
  }
}

/** The form that makes a call. */
function caller(method, path, operation) {
  const inputs = new Map();
  const form = make("form", { autocomplete: "off" });
  for (const parameter of operation.parameters ?? []) {
    const id = `${operation.operationId}-${parameter.name}`;
    const input = make("input", { id, placeholder: typeOf(parameter.schema ?? {}), spellcheck: "false" });
    inputs.set(parameter, input);
    form.append(make("div", { class: "field" }, make("label", { for: id }, `${parameter.name} (${parameter.in})`), input));
  }
  const schema = operation.requestBody?.content?.["application/json"]?.schema;
  const body = schema ? make("textarea", { spellcheck: "false", "aria-label": "body" }) : null;
  if (body) {
    const model = schema.anyOf?.find((each) => each.$ref) ?? schema;
    body.value = JSON.stringify(exampleOf(model), null, 2);
    form.append(body);
  }
  const button = make("button", { type: "submit" }, "Call");
  const place = make("div", { "aria-live": "polite" });
  form.append(button, place);
  let stop = null;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    stop?.abort();
    stop = new AbortController();
    let target = path;
    const query = new URLSearchParams();
    for (const [parameter, input] of inputs) {
      if (parameter.in === "path") target = target.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
      else if (input.value !== "") query.set(parameter.name, input.value);
    }
    const headers = {};
    const token = byId("token").value.trim();
    if (token) headers.Authorization = `Bearer ${token}`;
    if (body) headers["Content-Type"] = "application/json";
    try {
      const url = query.size ? `${target}?${query}` : target;
      const options = { method: method.toUpperCase(), headers, body: body?.value, signal: stop.signal };
      await show(await fetch(url, { ...options, credentials: "omit", redirect: "error" }), place);
    } catch (error) {
      if (error.name !== "AbortError") place.replaceChildren(make("p", { class: "wrong" }, String(error)));
    }
  });
  return form;
}

function section(method, path, operation) {
  const summary = make("summary", {}, make("span", { class: `method ${method}` }, method.toUpperCase()),
    make("span", { class: "path" }, ...breakable(path)), make("span", { class: "quiet" }, operation.summary ?? ""));
  const inner = make("div", { class: "inner" });
  const block = make("details", { id: operation.operationId }, summary, inner);
  block.addEventListener("toggle", () => {
    if (!block.open || inner.childElementCount) return;
    for (const part of (operation.description ?? "").split("\n\n")) inner.append(make("p", {}, ...prose(part)));
    const schema = operation.requestBody?.content?.["application/json"]?.schema;
    if (schema) {
      inner.append(make("h3", {}, "Body"), fieldsTable(schema.anyOf?.find((each) => each.$ref) ?? schema));
    }
    inner.append(make("h3", {}, "Answers"), answersTable(operation.responses));
    const good = Object.entries(operation.responses).find(([status]) => status.startsWith("2"))?.[1];
    const answer = good?.content?.["application/json"]?.schema;
    if (answer) inner.append(make("h3", {}, typeOf(answer)), fieldsTable(answer));
    inner.append(make("h3", {}, "Try it"), caller(method, path, operation));
  });
  return block;
}

function open() {
  const block = byId(decodeURIComponent(location.hash.slice(1)));
  if (block?.tagName === "DETAILS") {
    block.open = true;
    block.scrollIntoView();
  }
}

async function main() {
  const answer = await fetch("/openapi.json", { credentials: "omit" });
  if (!answer.ok) throw new Error(`openapi.json: ${answer.status} ${answer.statusText}`);
  const description = await answer.json();
  components = description.components ?? {};
  if (!components.securitySchemes) byId("who").remove();
  byId("title").textContent = `${description.info.title} ${description.info.version}: control API`;
  byId("about").replaceChildren(...prose(description.info.description));
  const chapters = new Map();
  for (const [path, methods] of Object.entries(description.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags?.[0] ?? "other";
      if (!chapters.has(tag)) chapters.set(tag, []);
      chapters.get(tag).push([method, path, operation]);
    }
  }
  const main = byId("operations");
  main.replaceChildren();
  for (const [tag, operations] of chapters) {
    byId("contents").append(make("h2", {}, tag));
    main.append(make("h2", {}, tag));
    for (const [method, path, operation] of operations) {
      const link = make("a", { href: `#${operation.operationId}` }, `${method.toUpperCase()} `,
        ...breakable(path));
      byId("contents").append(link);
      main.append(section(method, path, operation));
    }
  }
  addEventListener("hashchange", open);
  open();
}

main().catch((error) => byId("state").replaceChildren(make("span", { class: "wrong" }, String(error))));
