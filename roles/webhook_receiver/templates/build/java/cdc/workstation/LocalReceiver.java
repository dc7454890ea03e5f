package cdc.workstation;

import com.github.tomakehurst.wiremock.core.Options;
import com.github.tomakehurst.wiremock.http.AdminRequestHandler;
import com.github.tomakehurst.wiremock.http.HttpServer;
import com.github.tomakehurst.wiremock.http.HttpServerFactory;
import com.github.tomakehurst.wiremock.http.StubRequestHandler;
import com.github.tomakehurst.wiremock.jetty11.Jetty11HttpServer;
import java.io.IOException;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.Set;
import wiremock.jakarta.servlet.DispatcherType;
import wiremock.jakarta.servlet.Filter;
import wiremock.jakarta.servlet.FilterChain;
import wiremock.jakarta.servlet.ServletException;
import wiremock.jakarta.servlet.ServletRequest;
import wiremock.jakarta.servlet.ServletResponse;
import wiremock.jakarta.servlet.http.HttpServletRequest;
import wiremock.jakarta.servlet.http.HttpServletResponse;
import wiremock.org.eclipse.jetty.servlet.FilterHolder;
import wiremock.org.eclipse.jetty.servlet.FilterMapping;
import wiremock.org.eclipse.jetty.servlet.ServletContextHandler;
import wiremock.org.eclipse.jetty.servlet.ServletHandler;
import wiremock.org.eclipse.jetty.servlets.CrossOriginFilter;

/**
 * WireMock that no website reaches through a visitor's browser, and that nobody ends over HTTP.
 *
 * <p>WireMock has no setting for either: its admin API allows every origin, credentials included, answers under any host
 * name (DNS rebinding), and has a request that shuts it down. The names it answers to are those of the system property
 * {@code cdc.hosts}, separated by commas.
 */
public final class LocalReceiver implements HttpServerFactory {
    @Override
    public String getName() {
        return "local-receiver";
    }

    @Override
    public HttpServer buildHttpServer(Options options, AdminRequestHandler admin, StubRequestHandler stubs) {
        return new Server(options, admin, stubs);
    }

    private static final class Server extends Jetty11HttpServer {
        Server(Options options, AdminRequestHandler admin, StubRequestHandler stubs) {
            super(options, admin, stubs);
        }

        @Override
        protected void decorateAdminServiceContextAfterConfig(ServletContextHandler context) {
            guard(context);
        }

        @Override
        protected void decorateMockServiceContextAfterConfig(ServletContextHandler context) {
            guard(context);
        }

        private static void guard(ServletContextHandler context) {
            ServletHandler handler = context.getServletHandler();
            String unwanted = CrossOriginFilter.class.getName();
            FilterHolder[] kept = Arrays.stream(handler.getFilters())
                    .filter(holder -> !unwanted.equals(holder.getClassName()))
                    .toArray(FilterHolder[]::new);
            Set<String> names = Set.copyOf(Arrays.stream(kept).map(FilterHolder::getName).toList());
            handler.setFilterMappings(Arrays.stream(handler.getFilterMappings())
                    .filter(mapping -> names.contains(mapping.getFilterName()))
                    .toArray(FilterMapping[]::new));
            handler.setFilters(kept);
            FilterHolder guard = new FilterHolder(new Guard());
            guard.setAsyncSupported(true);
            context.addFilter(guard, "/*", EnumSet.of(DispatcherType.REQUEST));
        }
    }

    private static final class Guard implements Filter {
        private static final Set<String> HOSTS = Set.of(System.getProperty("cdc.hosts", "localhost").split(","));

        @Override
        public void doFilter(ServletRequest request, ServletResponse response, FilterChain chain)
                throws IOException, ServletException {
            String refusal = refusal((HttpServletRequest) request);
            if (refusal == null) {
                chain.doFilter(request, response);
                return;
            }
            ((HttpServletResponse) response).setStatus(HttpServletResponse.SC_FORBIDDEN);
            response.setContentType("text/plain");
            response.getWriter().println(refusal);
        }

        private static String refusal(HttpServletRequest request) {
            String host = request.getHeader("Host");
            if (host != null && !HOSTS.contains(host.replaceFirst(":\\d+$", ""))) {
                return "This is not a name of the webhook receiver (webhook_receiver_hosts).";
            }
            String origin = request.getHeader("Origin");
            if (origin != null && !origin.equals("http://" + host)) {
                return "Pages of other origins may not use the webhook receiver.";
            }
            if (request.getRequestURI().replaceAll("/+", "/").equals("/__admin/shutdown")) {
                return "The webhook receiver is stopped with its container.";
            }
            return null;
        }
    }
}
