// Checks an answer by its field's JSON Schema, as connectors/kiosk/form_check.py does: the same faults, before sending.

// Returns null or {code, limit}.
export function findFault(field, value, files = []) {
  if (field.type === "files") return fileFault(field, files);
  const given = typeof value === "string" ? value.trim() : value;
  if (given === undefined || given === null || given === "" || given === false || given.length === 0) {
    if (!field.required) return null;
    return { code: field.role === "consent" ? "consent" : "required" };
  }
  if (typeof given === "string") return textFault(field, given);
  if (typeof given === "number") return numberFault(field.schema, given);
  return Array.isArray(given) ? listFault(field.schema, given) : null;
}

function textFault(field, text) {
  const { schema } = field;
  const length = [...text].length; // code points, as JSON Schema counts them
  if (schema.minLength !== undefined && length < schema.minLength) return { code: "too_short", limit: schema.minLength };
  if (schema.maxLength !== undefined && length > schema.maxLength) return { code: "too_long", limit: schema.maxLength };
  if (schema.pattern && !matches(schema.pattern, text)) {
    return { code: field.type === "email" || field.type === "phone" ? field.type : "pattern" };
  }
  if (field.type === "date" && !isDate(text)) return { code: "date" };
  if (schema.enum && !schema.enum.includes(text)) return { code: "choice" };
  return field.type === "number" ? { code: "type" } : null; // a number that is none stays text
}

function numberFault(schema, number) {
  if (schema.minimum !== undefined && number < schema.minimum) return { code: "too_small", limit: schema.minimum };
  if (schema.maximum !== undefined && number > schema.maximum) return { code: "too_large", limit: schema.maximum };
  return null;
}

function listFault(schema, list) {
  if (schema.items?.enum && list.some((value) => !schema.items.enum.includes(value))) return { code: "choice" };
  if (schema.minItems !== undefined && list.length < schema.minItems) return { code: "too_few", limit: schema.minItems };
  if (schema.maxItems !== undefined && list.length > schema.maxItems) return { code: "too_many", limit: schema.maxItems };
  return null;
}

function fileFault(field, files) {
  const limits = field.files;
  if (field.required && !files.length) return { code: "required" };
  if (files.length > limits.max_files) return { code: "too_many_files", limit: limits.max_files };
  if (files.some((file) => file.blob.size > limits.max_bytes)) {
    return { code: "file_too_large", limit: Number((limits.max_bytes / 1024 / 1024).toPrecision(3)) };
  }
  const wanted = (type) => limits.media_types.some((kind) => kind === type || (kind.endsWith("/*") && type.startsWith(kind.slice(0, -1))));
  return files.every((file) => wanted(file.blob.type)) ? null : { code: "file_type" };
}

function matches(pattern, text) {
  try {
    return new RegExp(pattern, "u").test(text);
  } catch {
    return true; // Python's alone understands it: the daemon decides
  }
}

// 30 February would be read as 2 March: the day must come out as it went in.
function isDate(text) {
  const moment = new Date(`${text}T00:00:00Z`);
  return /^\d{4}-\d{2}-\d{2}$/.test(text) && !Number.isNaN(moment.getTime()) && moment.toISOString().startsWith(text);
}
