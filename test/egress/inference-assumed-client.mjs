// Asks Bedrock's interface twice.
const said = [];
for (const text of ["one", "two"]) {
  const body = JSON.stringify({ messages: [{ role: "user", content: [{ text }] }] });
  const response = await fetch("https://inference.local/model/a.model/converse", { method: "POST", body });
  said.push({ status: response.status, body: await response.json() });
}
process.stdout.write(JSON.stringify(said));
