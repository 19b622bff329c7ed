// A certified OpenID Connect provider (panva/node-oidc-provider) with fixed
// accounts: `login` is the account's name, and any password is right.
// argv: the directory of the package, its port, the service's address.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [home, port, service] = process.argv.slice(2);
const require = createRequire(pathToFileURL(`${home}/`));
const entry = require.resolve("oidc-provider");
const { Provider } = await import(pathToFileURL(entry));

const accounts = {
  alice: { roles: ["operator"], clients: ["*"] },
  boss: { roles: ["admin"] },
  nobody: {},
};
const audience = "metasync-api";

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: "metasync",
      client_secret: "a secret: with / signs",
      redirect_uris: [`${service}/auth/callback`],
      post_logout_redirect_uris: [`${service}/`],
    },
    {
      client_id: "robot",
      client_secret: "robot-secret",
      grant_types: ["client_credentials"],
      redirect_uris: [],
      response_types: [],
    },
  ],
  // All claims are in the ID token, or only in the answer of userinfo.
  conformIdTokenClaims: process.env.CLAIMS === "userinfo",
  claims: {
    openid: ["sub", "roles", "clients"],
    profile: ["preferred_username"],
    email: ["email", "email_verified"],
  },
  pkce: { required: () => true },
  cookies: { keys: ["a key of the tests"] },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({
      sub: id,
      preferred_username: id.toUpperCase(),
      email: `${id}@example.com`,
      email_verified: true,
      ...accounts[id],
    }),
  }),
  extraTokenClaims: () => ({ roles: ["viewer"], clients: ["*"] }),
  features: {
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: () => ({
        scope: "api",
        audience,
        accessTokenFormat: "jwt",
        accessTokenTTL: 600,
      }),
      defaultResource: () => undefined,
    },
  },
});
provider.listen(Number(port), "127.0.0.1", () => console.log("ready"));
