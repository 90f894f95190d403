import { allow } from "./access.ts";
import type { Memories } from "./memories.ts";
import { asObject, type QueueRequest, queryInteger, queryPage, type Reply } from "./request.ts";
import type { Skills } from "./skills.ts";

/** `/v1/skills/{id}/versions…` (protocol section 12). */
export function routeSkills(request: QueueRequest, rest: readonly string[], skills: Skills): Reply | undefined {
  const [id, versions, version, content] = rest;
  if (request.method !== "GET" || id === undefined || versions !== "versions" || rest.length > 4) return undefined;
  if (version === undefined) return { json: skills.versions(id) };
  if (content === undefined) return { json: skills.version(id, version) };
  return content === "content" ? { bytes: skills.archive(id, version) } : undefined;
}

/** `/v1/memory_stores/{id}/memories…` (protocol section 13). The environment key is refused. */
export async function routeMemories(
  request: QueueRequest,
  rest: readonly string[],
  memories: Memories,
): Promise<Reply | undefined> {
  allow(request.caller, "session", "operator");
  const [storeId, segment, id] = rest;
  const { method, query } = request;
  if (storeId === undefined || segment !== "memories" || rest.length > 3) return undefined;
  if (id === undefined) {
    if (method === "POST") return { json: memories.create(storeId, asObject(await request.body())) };
    if (method !== "GET") return undefined;
    const full = query.get("view") === "full";
    const limit = queryInteger(query, "limit", 1, full ? 20 : 100) ?? 20;
    return { json: memories.list(storeId, full, limit, queryPage(query)) };
  }
  switch (method) {
    case "GET":
      return { json: memories.get(storeId, id, query.get("view") === "full") };
    case "POST":
      return { json: memories.update(storeId, id, asObject(await request.body())) };
    case "DELETE":
      return { json: memories.delete(storeId, id, query.get("expected_content_sha256") ?? undefined) };
    default:
      return undefined;
  }
}
