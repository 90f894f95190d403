// Asks until it may not any more.
const said = [];
for (let n = 0; n < 3; n++) {
  const response = await fetch("https://inference.local/v1/messages", {
    method: "POST",
    body: JSON.stringify({ model: "m", messages: [] }),
  });
  said.push({ status: response.status, body: await response.json() });
}
process.stdout.write(JSON.stringify(said));
