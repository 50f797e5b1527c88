"use strict";
// The page of an audit: one section for each log, from the data in the page itself. Nothing is fetched.

function pageOfLogs() {
  const { logs, unread } = JSON.parse(document.getElementById("data").textContent);
  const sections = logs.map((log, at) => {
    const many = `${log.experiments} experiment${log.experiments === 1 ? "" : "s"}`;
    const counts = `${many}, ${log.kept} kept, ${log.failed} failed`;
    const title = `${log.file}: ${log.metric}, ${log.direction} is better`;
    return SECTIONS.claim({ claim: log }, `claim-${at}`, title, counts);
  });
  const rest = unread.length
    ? section("unread", "No logs", el("ul", {}, unread.map((text) => el("li", {}, text))))
    : null;
  document.getElementById("sections").replaceChildren(...[...sections, rest].filter(Boolean));
  document.documentElement.dataset.ready = "yes";
}

pageOfLogs();
