"use strict";
window.addEventListener("load", function () {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const paint = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
  dark.addEventListener("change", paint);
  paint();
  // A lock stands at the calls that need a token, and at no others; Swagger UI shows an open one and a closed one.
  const locks = () => ({
    statePlugins: {
      auth: {
        wrapSelectors: {
          isAuthorized: (original) => (state, securities) =>
            securities && securities.some((one) => one.isEmpty()) ? "optional" : original(state, securities),
        },
      },
    },
    wrapComponents: {
      authorizeOperationBtn: (Original, system) => (props) =>
        props.isAuthorized === "optional" ? null : system.React.createElement(Original, props),
      UnlockAuthOperationIcon: (Original, system) => (props) =>
        system.React.createElement(system.getComponent("LockAuthOperationIcon", true) || Original, props),
    },
  });
  window.ui = SwaggerUIBundle({
    url: "/docs/openapi.json",
    dom_id: "#swagger-ui",
    deepLinking: true,
    defaultModelsExpandDepth: 0,
    oauth2RedirectUrl: window.location.origin + "/api/docs/oauth2-redirect.html",
    presets: [SwaggerUIBundle.presets.apis],
    plugins: [locks],
    layout: "BaseLayout",
    // Its badge asks a server on the internet what it thinks of this document.
    validatorUrl: null,
  });
});
