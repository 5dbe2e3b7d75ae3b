// Starts GraphiQL for the endpoint that the page names.
"use strict";
(() => {
  const root = document.getElementById("graphiql");
  const endpoint = root.dataset.endpoint;
  const address = new URL(location.pathname, location.origin);
  const asked = new URLSearchParams(location.search);

  const examples = {
    graphql: {
      query: `# Ctrl-Enter runs this.
# On the left: all that can be asked.
{
  events(first: 5) {
    nodes {
      id
      name
      startsAt
      location {
        city
      }
    }
  }
}
`,
    },
    command: {
      headers: `{ "MyEvents-User": "usr_me" }`,
      query: `# This really makes an event,
# but a draft: see publishEvent.
#
# Under Headers: who you are. With an
# Idempotency-Key there, it takes effect
# once, however often it is sent.
mutation {
  createEvent(
    input: {
      name: "An evening of talks"
      startsAt: "2030-05-01T18:00:00+02:00"
      endsAt: "2030-05-01T21:00:00+02:00"
      online: true
      capacity: 100
      publish: false
    }
  ) {
    event {
      id
      version
    }
    position
    errors {
      code
      message
      path
    }
  }
}
`,
    },
  };
  const example = examples[endpoint.split("/").pop()] ?? {};

  // Both endpoints lie on one origin: each keeps its tabs under a name of its own.
  const mine = `${endpoint} `;
  const keys = () => Object.keys(localStorage).filter((key) => key.startsWith(mine));
  const storage = {
    get length() {
      return keys().length;
    },
    getItem: (key) => localStorage.getItem(mine + key),
    setItem: (key, value) => localStorage.setItem(mine + key, value),
    removeItem: (key) => localStorage.removeItem(mine + key),
    clear: () => keys().forEach((key) => localStorage.removeItem(key)),
  };

  const fetcher = async (call, options) => {
    const answer = await fetch(address, {
      method: "POST",
      headers: {
        Accept: "application/graphql-response+json, application/json;q=0.9",
        "Content-Type": "application/json",
        ...options?.headers,
      },
      body: JSON.stringify(call),
    });
    return answer.json();
  };

  ReactDOM.createRoot(root).render(
    React.createElement(GraphiQL, {
      fetcher,
      storage,
      defaultQuery: example.query,
      defaultHeaders: example.headers,
      // A link may bring a query along; running it is left to the reader.
      query: asked.get("query") ?? undefined,
      variables: asked.get("variables") ?? undefined,
      isHeadersEditorEnabled: true,
      shouldPersistHeaders: false,
    }),
  );
})();
