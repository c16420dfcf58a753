// The script both runtimes run: a decision such as owners write, without a lookup.
const departments = new Map([["finance", ["ledger", "payroll"]], ["engineering", ["source", "builds"]]]);

function isBusinessHour(hour) {
  return hour >= 7 && hour < 20;
}

function areaOf(url) {
  const segments = url.pathname.split("/").filter(Boolean);
  return segments[0] ?? "home";
}

export default {
  async fetch(request) {
    const url = new URL(request.url);
    const person = request.headers.get("x-person") ?? "";
    const group = request.headers.get("x-group") ?? "";
    const area = areaOf(url);
    const allowed = departments.get(group) ?? [];
    if (!person.endsWith("@acme.test")) {
      return new Response("who are you?\n", { status: 403 });
    }
    if (!allowed.includes(area) && area !== "home") {
      const target = new URL("https://help.acme.test/access");
      target.searchParams.set("area", area);
      target.searchParams.set("person", person);
      return Response.redirect(target.toString(), 302);
    }
    if (!isBusinessHour(Number(request.headers.get("x-hour") ?? "12")) && request.method !== "GET") {
      return Response.json({ error: "outside business hours", area }, { status: 403 });
    }
    const headers = new Headers(request.headers);
    headers.set("x-area", area);
    headers.set("x-decision", "allow");
    return Response.json({ area, person, count: allowed.length }, { headers });
  },
};
